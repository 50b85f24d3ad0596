#include "core/change_batch.hpp"

#include <gtest/gtest.h>

#include <string>

namespace livemigrate {
namespace {

class ChangeBatches : public ::testing::Test {
  protected:
    Change
    Insert(std::string_view value) const {
        Change change;
        change.kind = ChangeKind::kInsert;
        change.relation = relation_;
        change.new_tuple = {{ValueKind::kText, value}, {ValueKind::kNull, {}}};
        return change;
    }

    std::shared_ptr<const RemoteRelation> relation_ = std::make_shared<RemoteRelation>();
    ChangeBatch batch_{4, 1 << 20};
};

std::vector<std::string>
Values(std::span<const ChangeBatch::Item> items) {
    std::vector<std::string> values;
    for (const ChangeBatch::Item &item : items) {
        values.emplace_back(item.row.kind == ChangeKind::kTruncate ? "truncate"
                                                                   : item.row.new_tuple[0].data);
    }
    return values;
}

using Lines = std::vector<std::string>;

TEST_F(ChangeBatches, CopiesValuesAndEndsThemWithNul) {
    std::string value = "some text";
    batch_.BeginTransaction({7, Lsn{100}});
    batch_.Add(Insert(value));
    value.assign(value.size(), 'x');
    const ChangeBatch::Item &item = batch_.items()[0];
    EXPECT_EQ(item.row.new_tuple[0].data, "some text");
    EXPECT_EQ(item.row.new_tuple[0].data.data()[9], '\0');
    EXPECT_EQ(item.row.new_tuple[1].kind, ValueKind::kNull);
    EXPECT_TRUE(item.row.old_tuple.empty());
    EXPECT_EQ(item.transaction.xid, 7U);
    EXPECT_EQ(batch_.relation(item), relation_);
}

TEST_F(ChangeBatches, CompleteAndOpenTransactions) {
    batch_.BeginTransaction({1, Lsn{100}});
    batch_.Add(Insert("a"));
    EXPECT_TRUE(batch_.complete().empty());
    batch_.EndTransaction();
    batch_.BeginTransaction({2, Lsn{200}});
    batch_.Add(Insert("b"));
    EXPECT_EQ(Values(batch_.complete()), (Lines{"a"}));
    EXPECT_EQ(Values(batch_.items()), (Lines{"a", "b"}));
    batch_.DropOpenTransaction();
    EXPECT_EQ(Values(batch_.items()), (Lines{"a"}));
}

TEST_F(ChangeBatches, TheOpenTransactionOutlivesTheCompleteOnes) {
    batch_.BeginTransaction({1, Lsn{100}});
    batch_.Add(Insert("a"));
    batch_.EndTransaction();
    batch_.BeginTransaction({2, Lsn{200}});
    batch_.Add(Insert("b"));
    batch_.EraseComplete();
    EXPECT_EQ(Values(batch_.items()), (Lines{"b"}));
    EXPECT_TRUE(batch_.complete().empty());
    batch_.Add(Insert("c"));
    batch_.EndTransaction();
    EXPECT_EQ(Values(batch_.complete()), (Lines{"b", "c"}));
    batch_.EraseComplete();
    EXPECT_TRUE(batch_.items().empty());
}

TEST_F(ChangeBatches, IsFullByCountAndBySize) {
    for (int i = 0; i < 4; i++) {
        EXPECT_FALSE(batch_.full());
        batch_.Add(Insert("x"));
    }
    EXPECT_TRUE(batch_.full());
    batch_.Clear();
    EXPECT_FALSE(batch_.full());
    batch_.Add(Insert(std::string(2 << 20, 'x')));
    EXPECT_TRUE(batch_.full());
}

TEST_F(ChangeBatches, AdjoiningTruncatesAreOne) {
    const auto other = std::make_shared<RemoteRelation>();
    batch_.BeginTransaction({1, Lsn{100}});
    batch_.AddTruncate(relation_, false);
    batch_.AddTruncate(other, true);
    batch_.Add(Insert("a"));
    batch_.AddTruncate(relation_, false);
    batch_.EndTransaction();
    batch_.BeginTransaction({2, Lsn{200}});
    batch_.AddTruncate(other, false);
    ASSERT_EQ(Values(batch_.items()), (Lines{"truncate", "a", "truncate", "truncate"}));
    EXPECT_EQ(batch_.truncation(batch_.items()[0]).relations.size(), 2U);
    EXPECT_TRUE(batch_.truncation(batch_.items()[0]).restart_identity);
    EXPECT_EQ(batch_.truncation(batch_.items()[2]).relations.size(), 1U);
    EXPECT_FALSE(batch_.truncation(batch_.items()[2]).restart_identity);
    EXPECT_EQ(batch_.truncation(batch_.items()[3]).relations.at(0), other);
}

} // namespace
} // namespace livemigrate
