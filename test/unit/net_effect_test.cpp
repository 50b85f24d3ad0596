#include "core/net_effect.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <random>

namespace livemigrate {
namespace {

constexpr const char *kUnchangedText = "<unchanged>";

// Rows of (id, a, b) with key id.
class NetEffects : public ::testing::Test {
  protected:
    TupleView
    Row(const std::vector<std::string> &values) {
        Tuple &tuple = tuples_.emplace_back();
        for (const std::string &value : values) {
            if (value == kUnchangedText) {
                tuple.push_back({ValueKind::kUnchanged, {}});
            } else if (value == "NULL") {
                tuple.push_back({ValueKind::kNull, {}});
            } else {
                tuple.push_back({ValueKind::kText, texts_.emplace_back(value)});
            }
        }
        return tuple;
    }

    bool
    Insert(const std::vector<std::string> &values) {
        return effect_.Add({ChangeKind::kInsert, false, &relation_, {}, Row(values)});
    }
    bool
    Update(const std::vector<std::string> &values) {
        return effect_.Add({ChangeKind::kUpdate, false, &relation_, {}, Row(values)});
    }
    bool
    UpdateKey(const std::vector<std::string> &old, const std::vector<std::string> &values) {
        return effect_.Add({ChangeKind::kUpdate, false, &relation_, Row(old), Row(values)});
    }
    bool
    Delete(const std::string &key) {
        return effect_.Add(
            {ChangeKind::kDelete, false, &relation_, Row({key, "NULL", "NULL"}), {}});
    }

    static std::string
    Show(TupleView tuple) {
        std::string text;
        for (const ColumnValue &value : tuple) {
            text += text.empty() ? "" : " ";
            text += value.kind == ValueKind::kUnchanged ? "?"
                    : value.kind == ValueKind::kNull    ? "NULL"
                                                        : std::string(value.data);
        }
        return text;
    }

    std::vector<std::string>
    Effect() const {
        std::vector<std::string> all;
        effect_.ForEachDelete([&](const NetEffect::Row &row) {
            all.push_back("delete " + std::string(row.key[0].data));
            EXPECT_TRUE(row.values.empty());
        });
        effect_.ForEachUpdate([&](const NetEffect::Row &row) {
            all.push_back("update " + std::string(row.key[0].data) + ": " + Show(row.values));
        });
        effect_.ForEachInsert(
            [&](const NetEffect::Row &row) { all.push_back("insert " + Show(row.values)); });
        return all;
    }

    using Lines = std::vector<std::string>;

    const RemoteRelation relation_{0, "public", "t", 0, {{"id", true}, {"a"}, {"b"}}};
    std::deque<Tuple> tuples_;
    std::deque<std::string> texts_;
    std::pmr::monotonic_buffer_resource memory_;
    NetEffect effect_{relation_, &memory_};
};

TEST_F(NetEffects, KeepsWhatStandsAlone) {
    EXPECT_TRUE(Insert({"1", "x", "y"}));
    EXPECT_TRUE(Update({"2", "x", kUnchangedText}));
    EXPECT_TRUE(Delete("3"));
    EXPECT_EQ(Effect(), (Lines{"delete 3", "update 2: 2 x ?", "insert 1 x y"}));
    EXPECT_FALSE(effect_.only_inserts());
}

TEST_F(NetEffects, OnlyInserts) {
    EXPECT_TRUE(Insert({"1", "x", "y"}));
    EXPECT_TRUE(effect_.only_inserts());
}

TEST_F(NetEffects, AHotRowIsOneUpdate) {
    for (int i = 0; i < 1000; i++) {
        EXPECT_TRUE(Update({"1", std::to_string(i), kUnchangedText}));
    }
    EXPECT_EQ(Effect(), (Lines{"update 1: 1 999 ?"}));
}

TEST_F(NetEffects, UnchangedValuesComeFromBefore) {
    EXPECT_TRUE(Insert({"1", "a", "big"}));
    EXPECT_TRUE(Update({"1", "b", kUnchangedText}));
    EXPECT_TRUE(Update({"2", "c", "long"}));
    EXPECT_TRUE(Update({"2", kUnchangedText, "longer"}));
    EXPECT_TRUE(Update({"2", "d", kUnchangedText}));
    EXPECT_EQ(Effect(), (Lines{"update 2: 2 d longer", "insert 1 b big"}));
}

TEST_F(NetEffects, NullIsAValueNotAnAbsence) {
    EXPECT_TRUE(Update({"1", "a", "b"}));
    EXPECT_TRUE(Update({"1", "NULL", kUnchangedText}));
    EXPECT_EQ(Effect(), (Lines{"update 1: 1 NULL b"}));
}

TEST_F(NetEffects, WhatComesAndGoesIsNothing) {
    EXPECT_TRUE(Insert({"1", "a", "b"}));
    EXPECT_TRUE(Update({"1", "c", "b"}));
    EXPECT_TRUE(Delete("1"));
    EXPECT_EQ(Effect(), Lines{});
    EXPECT_TRUE(Insert({"1", "d", "e"}));
    EXPECT_EQ(Effect(), (Lines{"insert 1 d e"}));
}

TEST_F(NetEffects, ARowThatGoesAndComesIsDeletedAndInserted) {
    EXPECT_TRUE(Delete("1"));
    EXPECT_TRUE(Insert({"1", "a", "b"}));
    EXPECT_TRUE(Update({"1", "c", kUnchangedText}));
    EXPECT_EQ(Effect(), (Lines{"delete 1", "insert 1 c b"}));
    EXPECT_TRUE(Delete("1"));
    EXPECT_EQ(Effect(), (Lines{"delete 1"}));
}

TEST_F(NetEffects, UpdatedThenDeletedIsDeleted) {
    EXPECT_TRUE(Update({"1", "a", "b"}));
    EXPECT_TRUE(Delete("1"));
    EXPECT_EQ(Effect(), (Lines{"delete 1"}));
}

TEST_F(NetEffects, AKeyChangeMovesTheRow) {
    EXPECT_TRUE(UpdateKey({"1", "NULL", "NULL"}, {"2", "a", "b"}));
    EXPECT_TRUE(Update({"2", "c", kUnchangedText}));
    EXPECT_EQ(Effect(), (Lines{"delete 1", "insert 2 c b"}));
    EXPECT_TRUE(UpdateKey({"2", "NULL", "NULL"}, {"1", "d", "e"}));
    EXPECT_EQ(Effect(), (Lines{"delete 1", "insert 1 d e"}));
}

TEST_F(NetEffects, AKeySentButNotChangedIsAnUpdate) {
    EXPECT_TRUE(UpdateKey({"1", "NULL", "NULL"}, {"1", "a", kUnchangedText}));
    EXPECT_EQ(Effect(), (Lines{"update 1: 1 a ?"}));
}

TEST_F(NetEffects, SpellingsOfAKeyAreDifferentKeys) {
    EXPECT_TRUE(UpdateKey({"1.0", "NULL", "NULL"}, {"1.00", "a", "b"}));
    EXPECT_EQ(Effect(), (Lines{"delete 1.0", "insert 1.00 a b"}));
}

TEST_F(NetEffects, SourceOrderWhereAMovedRowIsNotWhole) {
    EXPECT_FALSE(UpdateKey({"1", "NULL", "NULL"}, {"2", "a", kUnchangedText}));
}

TEST_F(NetEffects, SourceOrderForContradictions) {
    EXPECT_TRUE(Insert({"1", "a", "b"}));
    EXPECT_FALSE(Insert({"1", "a", "b"}));
    EXPECT_TRUE(Delete("2"));
    EXPECT_FALSE(Delete("2"));
    EXPECT_TRUE(Delete("3"));
    EXPECT_FALSE(Update({"3", "a", "b"}));
    EXPECT_TRUE(Update({"4", "a", "b"}));
    EXPECT_FALSE(Insert({"4", "a", "b"}));
    EXPECT_FALSE(Delete("NULL"));
}

TEST_F(NetEffects, SourceOrderForFullIdentity) {
    EXPECT_FALSE(effect_.Add({ChangeKind::kDelete, true, &relation_, Row({"1", "a", "b"}), {}}));
}

TEST(NetEffectsOfKeys, SeveralColumnsAreNotConfused) {
    RemoteRelation relation;
    relation.columns = {{"k1", true}, {"k2", true}};
    std::pmr::monotonic_buffer_resource memory;
    NetEffect effect(relation, &memory);
    const Tuple one = {{ValueKind::kText, "ab"}, {ValueKind::kText, "c"}};
    const Tuple two = {{ValueKind::kText, "a"}, {ValueKind::kText, "bc"}};
    EXPECT_TRUE(effect.Add({ChangeKind::kInsert, false, &relation, {}, one}));
    EXPECT_TRUE(effect.Add({ChangeKind::kInsert, false, &relation, {}, two}));
    int inserts = 0;
    effect.ForEachInsert([&](const NetEffect::Row &) { inserts++; });
    EXPECT_EQ(inserts, 2);
}

TEST(NetEffectsOfKeys, WithoutKeyRowsAreOnlyInserted) {
    RemoteRelation relation;
    relation.columns = {{"a"}};
    std::pmr::monotonic_buffer_resource memory;
    NetEffect effect(relation, &memory);
    const Tuple row = {{ValueKind::kText, "same"}};
    EXPECT_TRUE(effect.Add({ChangeKind::kInsert, false, &relation, {}, row}));
    EXPECT_TRUE(effect.Add({ChangeKind::kInsert, false, &relation, {}, row}));
    int inserts = 0;
    effect.ForEachInsert([&](const NetEffect::Row &) { inserts++; });
    EXPECT_EQ(inserts, 2);
    EXPECT_FALSE(effect.Add({ChangeKind::kDelete, false, &relation, row, {}}));
}

// The property that matters: any valid series of changes, reduced, leads to the same rows.
TEST(NetEffectsOfKeys, RandomSeriesEndInTheSameRows) {
    using Row = std::vector<std::string>;
    RemoteRelation relation;
    relation.columns = {{"id", true}, {"a"}, {"b"}};
    std::mt19937 random(7);
    auto pick = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
    for (int round = 0; round < 2000; round++) {
        std::map<std::string, Row> start;
        for (int i = 0; i < 6; i++) {
            if (pick(2) == 0) {
                const std::string key = std::to_string(i);
                start[key] = {key, "a" + key, "b" + key};
            }
        }
        std::map<std::string, Row> expected = start;
        std::deque<std::string> texts;
        std::deque<Tuple> tuples;
        std::pmr::monotonic_buffer_resource memory;
        NetEffect effect(relation, &memory);
        auto tuple = [&](const Row &row, bool unchanged) {
            Tuple &made = tuples.emplace_back();
            for (const std::string &value : row) {
                made.push_back({ValueKind::kText, texts.emplace_back(value)});
            }
            if (unchanged) {
                made[2] = {ValueKind::kUnchanged, {}};
            }
            return TupleView(made);
        };
        const int changes = 1 + pick(30);
        for (int i = 0; i < changes; i++) {
            const std::string key = std::to_string(pick(6));
            const std::string value = std::to_string(round * 100 + i);
            if (!expected.contains(key)) {
                expected[key] = {key, "i" + value, "j" + value};
                ASSERT_TRUE(effect.Add(
                    {ChangeKind::kInsert, false, &relation, {}, tuple(expected[key], false)}));
                continue;
            }
            switch (pick(3)) {
            case 0: {
                const bool unchanged = pick(2) == 0;
                expected[key][1] = "u" + value;
                if (!unchanged) {
                    expected[key][2] = "v" + value;
                }
                ASSERT_TRUE(effect.Add(
                    {ChangeKind::kUpdate, false, &relation, {}, tuple(expected[key], unchanged)}));
                break;
            }
            case 1:
                ASSERT_TRUE(effect.Add(
                    {ChangeKind::kDelete, false, &relation, tuple(expected[key], false), {}}));
                expected.erase(key);
                break;
            default: {
                const std::string other = std::to_string(pick(6));
                if (expected.contains(other)) {
                    break;
                }
                Row moved = expected[key];
                const TupleView old = tuple(moved, false);
                expected.erase(key);
                moved[0] = other;
                expected[other] = moved;
                ASSERT_TRUE(
                    effect.Add({ChangeKind::kUpdate, false, &relation, old, tuple(moved, false)}));
                break;
            }
            }
        }
        std::map<std::string, Row> result = start;
        effect.ForEachDelete([&](const NetEffect::Row &row) {
            ASSERT_EQ(result.erase(std::string(row.key[0].data)), 1U);
        });
        effect.ForEachUpdate([&](const NetEffect::Row &row) {
            Row &there = result.at(std::string(row.key[0].data));
            for (size_t i = 0; i < there.size(); i++) {
                if (row.values[i].kind == ValueKind::kText) {
                    there[i] = row.values[i].data;
                }
            }
        });
        effect.ForEachInsert([&](const NetEffect::Row &row) {
            Row made;
            for (const ColumnValue &value : row.values) {
                made.emplace_back(value.data);
            }
            ASSERT_TRUE(result.emplace(made[0], made).second);
        });
        ASSERT_EQ(result, expected) << "round " << round;
    }
}

} // namespace
} // namespace livemigrate
