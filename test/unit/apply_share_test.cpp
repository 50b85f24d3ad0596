#include "core/apply_share.hpp"

#include "core/error.hpp"

#include <gtest/gtest.h>

#include <set>

namespace livemigrate {
namespace {

constexpr uint32_t kWorkers = 3;

std::shared_ptr<RemoteRelation>
MakeRelation(const std::string &name, char identity = 'd') {
    auto relation = std::make_shared<RemoteRelation>();
    relation->schema = "s";
    relation->name = name;
    relation->replica_identity = identity;
    relation->columns = {{"id", true, 23, -1}, {"v", false, 25, -1}};
    return relation;
}

ColumnValue
Text(std::string_view text) {
    return {ValueKind::kText, text};
}

Change
MakeChange(ChangeKind kind, std::shared_ptr<const RemoteRelation> relation, Tuple old_tuple,
           Tuple new_tuple) {
    Change change;
    change.kind = kind;
    change.relation = std::move(relation);
    change.old_tuple = std::move(old_tuple);
    change.new_tuple = std::move(new_tuple);
    return change;
}

Dealings
AllKinds() {
    return {{{"s", "k"}, {Dealing::kKey, {"id"}}},
            {{"s", "t"}, {Dealing::kTable, {}}},
            {{"s", "f"}, {Dealing::kFirst, {}}}};
}

TEST(ApplyShares, TheHashStaysWhatItIs) {
    ShareHash empty;
    EXPECT_EQ(empty.Value(), 0xefd01f60ba992926U);
    ShareHash one;
    one.Add("s");
    ShareHash two;
    two.Add("s");
    two.Add("k");
    EXPECT_EQ(one.Value(), 0xb46023d8d2e0cfddU);
    EXPECT_EQ(two.Value(), 0xb192499f44fba0b0U);
}

TEST(ApplyShares, LengthsAreHashed) {
    ShareHash one;
    one.Add("ab");
    one.Add("c");
    ShareHash other;
    other.Add("a");
    other.Add("bc");
    EXPECT_NE(one.Value(), other.Value());
}

TEST(ApplyShares, ARowStaysWithOneWorkerWhateverHappensToIt) {
    ApplyShares shares(kWorkers, AllKinds());
    const auto relation = MakeRelation("k");
    std::set<uint32_t> used;
    for (int i = 0; i < 100; i++) {
        const std::string id = std::to_string(i);
        const auto insert =
            shares.WorkerOf(MakeChange(ChangeKind::kInsert, relation, {}, {Text(id), Text("one")}));
        ASSERT_TRUE(insert);
        used.insert(*insert);
        EXPECT_EQ(
            shares.WorkerOf(MakeChange(ChangeKind::kUpdate, relation, {}, {Text(id), Text("two")})),
            insert);
        EXPECT_EQ(shares.WorkerOf(MakeChange(ChangeKind::kUpdate, relation, {Text(id), {}},
                                             {Text(id), Text("three")})),
                  insert);
        EXPECT_EQ(shares.WorkerOf(MakeChange(ChangeKind::kDelete, relation, {Text(id), {}}, {})),
                  insert);
    }
    EXPECT_EQ(used, (std::set<uint32_t>{0, 1, 2}));
}

TEST(ApplyShares, AChangeOfTheKeyIsABarrierUnlessTheWorkerStays) {
    ApplyShares shares(kWorkers, AllKinds());
    const auto relation = MakeRelation("k");
    const auto worker = [&](const std::string &id) {
        return *shares.WorkerOf(
            MakeChange(ChangeKind::kInsert, relation, {}, {Text(id), Text("v")}));
    };
    int barriers = 0;
    for (int i = 0; i < 100; i++) {
        const std::string from = std::to_string(i);
        const std::string to = std::to_string(i + 1);
        const auto change =
            shares.WorkerOf(MakeChange(ChangeKind::kUpdate, relation, {Text(from), {}},
                                       {Text(to), {ValueKind::kUnchanged, {}}}));
        if (worker(from) == worker(to)) {
            EXPECT_EQ(change, worker(to));
        } else {
            EXPECT_FALSE(change);
            barriers++;
        }
    }
    EXPECT_GT(barriers, 40);
}

TEST(ApplyShares, AKeyThatTheNewTupleLeavesOutIsTheOldOne) {
    ApplyShares shares(kWorkers, AllKinds());
    const auto relation = MakeRelation("k");
    const auto insert =
        shares.WorkerOf(MakeChange(ChangeKind::kInsert, relation, {}, {Text("7"), Text("v")}));
    EXPECT_EQ(shares.WorkerOf(MakeChange(ChangeKind::kUpdate, relation, {Text("7"), {}},
                                         {{ValueKind::kUnchanged, {}}, Text("w")})),
              insert);
}

TEST(ApplyShares, WithoutItsKeyAChangeIsABarrier) {
    ApplyShares shares(kWorkers, AllKinds());
    const auto relation = MakeRelation("k");
    const ColumnValue null = {ValueKind::kNull, {}};
    EXPECT_FALSE(shares.WorkerOf(MakeChange(ChangeKind::kInsert, relation, {}, {null, Text("v")})));
    EXPECT_FALSE(shares.WorkerOf(MakeChange(ChangeKind::kDelete, relation, {}, {})));
    Change full = MakeChange(ChangeKind::kDelete, relation, {Text("1"), Text("v")}, {});
    full.old_tuple_is_full = true;
    EXPECT_FALSE(shares.WorkerOf(full));
}

TEST(ApplyShares, AnotherIdentityThanTheTableIsDealtByIsABarrier) {
    ApplyShares shares(kWorkers, AllKinds());
    // pgoutput describes it;
    const auto described = MakeRelation("k");
    described->columns[0].is_key = false;
    described->columns[1].is_key = true;
    EXPECT_FALSE(
        shares.WorkerOf(MakeChange(ChangeKind::kInsert, described, {}, {Text("1"), Text("v")})));
    // wal2json shows it with each change.
    const auto undescribed = MakeRelation("k", 0);
    EXPECT_TRUE(
        shares.WorkerOf(MakeChange(ChangeKind::kInsert, undescribed, {}, {Text("1"), Text("v")})));
    EXPECT_FALSE(
        shares.WorkerOf(MakeChange(ChangeKind::kDelete, undescribed, {{}, Text("v")}, {})));
    EXPECT_FALSE(shares.WorkerOf(MakeChange(ChangeKind::kUpdate, undescribed,
                                            {Text("1"), Text("v")}, {Text("1"), Text("v")})));
    // The column may be gone.
    const auto without = MakeRelation("k");
    without->columns.erase(without->columns.begin());
    EXPECT_FALSE(shares.WorkerOf(MakeChange(ChangeKind::kInsert, without, {}, {Text("v")})));
}

TEST(ApplyShares, OtherTablesGoWhole) {
    ApplyShares shares(kWorkers, AllKinds());
    const auto table = MakeRelation("t", 'f');
    const auto worker =
        shares.WorkerOf(MakeChange(ChangeKind::kInsert, table, {}, {Text("1"), Text("v")}));
    ASSERT_TRUE(worker);
    for (const char *id : {"2", "3", "4"}) {
        EXPECT_EQ(
            shares.WorkerOf(MakeChange(ChangeKind::kInsert, table, {}, {Text(id), Text("v")})),
            worker);
    }
    for (const char *name : {"f", "nobody knows"}) {
        EXPECT_EQ(shares.WorkerOf(MakeChange(ChangeKind::kInsert, MakeRelation(name), {},
                                             {Text("1"), Text("v")})),
                  0U);
    }
}

TEST(ApplyShares, TruncateIsABarrierWhereSeveralMayHaveRows) {
    const ApplyShares several(kWorkers, AllKinds());
    EXPECT_TRUE(several.TruncateIsBarrier(*MakeRelation("k")));
    EXPECT_TRUE(several.TruncateIsBarrier(*MakeRelation("t")));
    EXPECT_FALSE(several.TruncateIsBarrier(*MakeRelation("f")));
    EXPECT_FALSE(several.TruncateIsBarrier(*MakeRelation("nobody knows")));
    EXPECT_FALSE(ApplyShares(1, AllKinds()).TruncateIsBarrier(*MakeRelation("k")));
}

TEST(ApplyShares, DealingsHaveNames) {
    for (Dealing dealing : {Dealing::kFirst, Dealing::kTable, Dealing::kKey}) {
        EXPECT_EQ(ParseDealing(DealingName(dealing)), dealing);
    }
    EXPECT_THROW(ParseDealing("other"), Error);
}

} // namespace
} // namespace livemigrate
