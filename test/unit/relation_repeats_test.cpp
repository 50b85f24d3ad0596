// pgoutput describes a relation once per connection; every segment must be readable by itself.
#include "core/relation_repeats.hpp"

#include "core/transaction_reader.hpp"
#include "spool_fixture.hpp"

namespace livemigrate {
namespace {

using Records = std::vector<std::string>;

std::string
Id(uint32_t relation) {
    return {static_cast<char>(relation >> 24), static_cast<char>(relation >> 16),
            static_cast<char>(relation >> 8), static_cast<char>(relation)};
}

std::string
Relation(uint32_t relation, const std::string &text) {
    return "R" + Id(relation) + text;
}

std::string
Row(char type, uint32_t relation, const std::string &text = "") {
    return type + Id(relation) + text;
}

std::string
Truncate(const std::vector<uint32_t> &relations) {
    std::string payload = "T" + Id(static_cast<uint32_t>(relations.size())) + '\0';
    for (uint32_t relation : relations) {
        payload += Id(relation);
    }
    return payload;
}

class RelationRepeatsInSpool : public SpoolFixture {
  protected:
    RelationRepeatsInSpool() { identity_.plugin = Plugin::kPgoutput; }

    // The records of one segment.
    Records
    Segment(uint64_t segment, SpoolPosition end) const {
        return ReadAll(segment == end.segment ? end : SpoolPosition{segment + 1, 0}, {segment, 0});
    }
};

TEST(RelationRepeats, OncePerSegmentAndOnlyWhenUsed) {
    RelationRepeats repeats(Plugin::kPgoutput);
    const std::string one = Relation(1, "one");
    const std::string two = Relation(2, "two");
    repeats.Written(one, 1);
    repeats.Written(two, 1);
    for (char type : {'I', 'U', 'D'}) {
        EXPECT_TRUE(repeats.Missing(Row(type, 1), 1).empty());
    }
    EXPECT_EQ(repeats.Missing(Row('U', 1), 2), std::vector<std::string_view>{one});
    EXPECT_EQ(repeats.Missing(Row('D', 1), 2), std::vector<std::string_view>{one}); // not written
    repeats.Written(Row('D', 1), 2);
    EXPECT_TRUE(repeats.Missing(Row('I', 1), 2).empty());
    EXPECT_EQ(repeats.Missing(Truncate({1, 2, 2}), 2), std::vector<std::string_view>{two});
    EXPECT_EQ(repeats.Missing(Truncate({2, 1}), 3), (std::vector<std::string_view>{two, one}));
}

TEST(RelationRepeats, TheLatestDescriptionCounts) {
    RelationRepeats repeats(Plugin::kPgoutput);
    repeats.Written(Relation(1, "old"), 1);
    EXPECT_TRUE(repeats.Missing(Row('I', 1), 1).empty());
    repeats.Written(Relation(1, "new"), 1);
    EXPECT_TRUE(repeats.Missing(Row('I', 1), 1).empty());
    EXPECT_EQ(repeats.Missing(Row('I', 1), 2).front(), Relation(1, "new"));
    repeats.Remember(Relation(1, "newest"));
    EXPECT_EQ(repeats.Missing(Row('I', 1), 1).front(), Relation(1, "newest"));
    repeats.Clear();
    EXPECT_TRUE(repeats.Missing(Row('I', 1), 3).empty());
}

TEST(RelationRepeats, WhatIsMalformedIsLeftToTheDecoder) {
    RelationRepeats repeats(Plugin::kPgoutput);
    repeats.Written(Relation(1, "one"), 1);
    repeats.Written("R\0\0", 1);
    const std::string truncate = Truncate({1});
    for (const std::string &payload :
         {std::string(), std::string("I"), std::string("I\0\0\0", 4), std::string("T"),
          "T" + Id(0xffffffff), truncate.substr(0, truncate.size() - 1), std::string("Z")}) {
        EXPECT_TRUE(repeats.Missing(payload, 2).empty());
    }
    EXPECT_EQ(repeats.Missing("T" + Id(0xffffffff) + '\0' + Id(1), 2).size(), 1U);
}

TEST(RelationRepeats, Wal2jsonNeedsNone) {
    RelationRepeats repeats(Plugin::kWal2json);
    repeats.Written(Relation(1, "one"), 1);
    EXPECT_TRUE(repeats.Missing(Row('I', 1), 2).empty());
}

TEST_F(RelationRepeatsInSpool, EverySegmentStandsAlone) {
    segment_size_ = 400;
    SpoolWriter writer(Options());
    writer.Append(Lsn{1}, Begin(100));
    writer.Append(Lsn{1}, Relation(7, "seven"));
    writer.Append(Lsn{1}, Relation(8, "eight"));
    for (int i = 0; i < 50; ++i) {
        writer.Append(Lsn{1}, Row('I', 7, "a row"));
    }
    writer.Append(Lsn{1}, Row('I', 8));
    writer.Append(Lsn{1}, Commit(100, 110));
    writer.Flush();
    const SpoolPosition end = writer.written();
    ASSERT_GT(end.segment, 3U);
    size_t rows = 0;
    for (uint64_t segment = 1; segment <= end.segment; ++segment) {
        bool known = false;
        for (const std::string &record : Segment(segment, end)) {
            if (record == Relation(7, "seven")) {
                EXPECT_FALSE(known); // once
                known = true;
            }
            if (record == Row('I', 7, "a row")) {
                EXPECT_TRUE(known);
                ++rows;
            }
        }
        EXPECT_LE(ReadFile(segment).size(), segment_size_);
    }
    EXPECT_EQ(rows, 50U);
}

// The new connection describes the relation inside a transaction that is dropped as a duplicate.
TEST_F(RelationRepeatsInSpool, DescriptionsInDroppedTransactionsAreKept) {
    {
        SpoolWriter writer(Options());
        writer.Append(Lsn{1}, Begin(100));
        writer.Append(Lsn{1}, Relation(7, "seven"));
        writer.Append(Lsn{1}, Row('I', 7));
        writer.Append(Lsn{1}, Commit(100, 110));
        writer.Sync();
    }
    SpoolWriter writer(Options());
    EXPECT_FALSE(writer.Append(Lsn{1}, Begin(100)));
    EXPECT_FALSE(writer.Append(Lsn{1}, Relation(7, "seven")));
    EXPECT_FALSE(writer.Append(Lsn{1}, Row('I', 7)));
    EXPECT_FALSE(writer.Append(Lsn{1}, Commit(100, 110)));
    writer.Append(Lsn{1}, Begin(200));
    writer.Append(Lsn{1}, Row('U', 7));
    writer.Flush();
    EXPECT_EQ(ReadAll(writer.written()),
              (Records{Begin(100), Relation(7, "seven"), Row('I', 7), Commit(100, 110), Begin(200),
                       Relation(7, "seven"), Row('U', 7)}));
}

std::string
BigEndian(uint64_t value, size_t size) {
    std::string bytes;
    for (size_t i = size; i > 0; --i) {
        bytes += static_cast<char>(value >> (8 * (i - 1)));
    }
    return bytes;
}

// A worker restarts with nothing but the newest segment, and the real decoder.
TEST_F(RelationRepeatsInSpool, DecodesAfterPruning) {
    segment_size_ = 300;
    SpoolOptions options = Options();
    options.mark_transaction = nullptr;
    SpoolWriter writer(options);
    const std::string relation = "R" + Id(7) + std::string("public\0t\0d", 10) + BigEndian(1, 2) +
                                 '\1' + std::string("id\0", 3) + Id(23) + BigEndian(0xffffffff, 4);
    const std::string row = "I" + Id(7) + "N" + BigEndian(1, 2) + "t" + BigEndian(2, 4) + "42";
    const auto begin = [](uint64_t lsn) {
        return "B" + BigEndian(lsn, 8) + BigEndian(0, 8) + Id(1);
    };
    const auto commit = [](uint64_t lsn) {
        return "C" + std::string(1, '\0') + BigEndian(lsn, 8) + BigEndian(lsn + 5, 8) +
               BigEndian(0, 8);
    };
    for (uint64_t lsn = 10; lsn < 100; lsn += 10) {
        ASSERT_TRUE(writer.Append(Lsn{lsn}, begin(lsn)));
        if (lsn == 10) {
            writer.Append(Lsn{lsn}, relation);
        }
        writer.Append(Lsn{lsn}, row);
        ASSERT_TRUE(writer.Append(Lsn{lsn}, commit(lsn)));
    }
    ASSERT_EQ(writer.Sync(), Lsn{95});
    ASSERT_GT(PruneSpool(directory_, writer.written()), 2U);

    SpoolReader reader(directory_, identity_);
    const auto decoder = MakeDecoder(Plugin::kPgoutput);
    TransactionReader transactions(reader, *decoder, Lsn{85});
    Change change;
    ASSERT_EQ(transactions.Next(writer.written(), change), TransactionReader::Step::kBegin);
    ASSERT_EQ(transactions.Next(writer.written(), change), TransactionReader::Step::kChange);
    EXPECT_EQ(change.relation->name, "t");
    EXPECT_EQ(change.new_tuple.at(0).data, "42");
    ASSERT_EQ(transactions.Next(writer.written(), change), TransactionReader::Step::kCommit);
    EXPECT_EQ(change.end_lsn, Lsn{95});
}

} // namespace
} // namespace livemigrate
