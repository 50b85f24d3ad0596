#include "core/split_planner.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <map>

namespace livemigrate {
namespace {

constexpr uint64_t kGb = 1ULL << 30;
constexpr uint64_t kPage = 8192;

TableSize
Heap(uint64_t id, uint64_t bytes) {
    return {id, bytes / kPage, bytes, Splitting::kIfUneven};
}

std::vector<CopyPart>
Plan(std::vector<TableSize> tables, uint64_t split_bytes = kGb, uint32_t jobs = 4) {
    return PlanParts(tables, split_bytes, jobs);
}

// The parts of one table in `parts`, by part number; fails unless they cover every page once.
std::vector<CopyPart>
PartsOf(const std::vector<CopyPart> &parts, uint64_t table_id, uint64_t bytes) {
    std::map<uint32_t, CopyPart> by_number;
    for (const CopyPart &part : parts) {
        if (part.table_id == table_id) {
            EXPECT_TRUE(by_number.emplace(part.part, part).second);
        }
    }
    std::vector<CopyPart> result;
    uint64_t next_page = 0;
    uint64_t sum = 0;
    for (const auto &[number, part] : by_number) {
        EXPECT_EQ(number, result.size());
        EXPECT_EQ(part.parts, by_number.size());
        EXPECT_EQ(part.first_page, next_page);
        EXPECT_EQ(part.end_page.has_value(), number + 1 < by_number.size());
        EXPECT_GT(part.end_page.value_or(next_page + 1), next_page) << "an empty part";
        next_page = part.end_page.value_or(0);
        sum += part.bytes_estimate;
        result.push_back(part);
    }
    EXPECT_EQ(sum, bytes);
    return result;
}

TEST(SplitPlanner, NothingToDo) {
    EXPECT_TRUE(Plan({}).empty());
}

TEST(SplitPlanner, TablesUpToTheThresholdStayWhole) {
    const auto parts = Plan({Heap(1, kGb), Heap(2, 0)});
    ASSERT_EQ(parts.size(), 2U);
    const CopyPart whole{1, 0, 1, 0, std::nullopt, kGb};
    EXPECT_EQ(parts[0], whole);
    EXPECT_EQ(PartCondition(parts[0]), "");
    EXPECT_EQ(PartCondition(parts[1]), "");
}

TEST(SplitPlanner, LargerTablesAreCutIntoPartsOfAboutTheThreshold) {
    const auto parts = PartsOf(Plan({Heap(7, 10 * kGb + 1)}), 7, 10 * kGb + 1);
    ASSERT_EQ(parts.size(), 11U);
    for (const CopyPart &part : parts) {
        EXPECT_LE(part.bytes_estimate, kGb);
        EXPECT_GT(part.bytes_estimate, kGb * 9 / 10);
    }
}

TEST(SplitPlanner, ConditionsJoinWithoutAGapAndTheLastIsOpenEnded) {
    const auto parts = Plan({{1, 10, 3000, Splitting::kAlways}}, 1000);
    ASSERT_EQ(parts.size(), 3U);
    EXPECT_EQ(PartCondition(parts[0]), "ctid >= '(0,0)'::tid AND ctid < '(3,0)'::tid");
    EXPECT_EQ(PartCondition(parts[1]), "ctid >= '(3,0)'::tid AND ctid < '(6,0)'::tid");
    EXPECT_EQ(PartCondition(parts[2]), "ctid >= '(6,0)'::tid");
}

// C07: relpages said two pages, or none, and the table has long grown to thousands.
TEST(SplitPlanner, StalePageCountsLoseNoRow) {
    const auto stale = PartsOf(Plan({{1, 2, 5 * kGb, Splitting::kAlways}}), 1, 5 * kGb);
    ASSERT_EQ(stale.size(), 2U) << "at most one part a page";
    EXPECT_EQ(PartCondition(stale[1]), "ctid >= '(1,0)'::tid");
    const auto never_analyzed = PartsOf(Plan({{1, 0, 5 * kGb, Splitting::kAlways}}), 1, 5 * kGb);
    ASSERT_EQ(never_analyzed.size(), 1U);
    EXPECT_EQ(PartCondition(never_analyzed[0]), "");
}

TEST(SplitPlanner, PagesAreBlockNumbers) {
    const uint64_t pages = std::numeric_limits<uint32_t>::max();
    const uint64_t bytes = pages * kPage;
    const auto parts = PartsOf(Plan({{1, pages, bytes, Splitting::kAlways}}), 1, bytes);
    ASSERT_EQ(parts.size(), kMaxPartsPerTable);
    EXPECT_EQ(parts.back().first_page, pages * (kMaxPartsPerTable - 1) / kMaxPartsPerTable);
    for (const CopyPart &part : PartsOf(Plan({{1, ~0ULL, ~0ULL, Splitting::kAlways}}), 1, ~0ULL)) {
        EXPECT_LE(part.first_page, pages);
        EXPECT_LE(part.end_page.value_or(0), pages);
    }
}

TEST(SplitPlanner, DoesNotSplitWhereItCannotOrNeedNot) {
    TableSize table = Heap(1, 100 * kGb);
    EXPECT_EQ(Plan({table}, kGb, 1).size(), 1U) << "one job";
    EXPECT_EQ(Plan({table}, kGb, 0).size(), 1U);
    EXPECT_EQ(Plan({table}, 0).size(), 1U) << "splitting switched off";
    table.splitting = Splitting::kNever;
    EXPECT_EQ(Plan({table}).size(), 1U);
}

// How many parts each table has, by id.
std::map<uint64_t, uint32_t>
PartCounts(const std::vector<CopyPart> &parts) {
    std::map<uint64_t, uint32_t> counts;
    for (const CopyPart &part : parts) {
        counts[part.table_id] = part.parts;
    }
    return counts;
}

using Counts = std::map<uint64_t, uint32_t>;

TEST(SplitPlanner, TablesThatAreEvenlySharedOutStayWhole) {
    EXPECT_EQ(PartCounts(Plan({Heap(1, 3 * kGb), Heap(2, 2 * kGb), Heap(3, kGb / 2)}, kGb, 2)),
              (Counts{{1, 1}, {2, 1}, {3, 1}}));
    EXPECT_EQ(PartCounts(Plan({Heap(1, 3 * kGb), Heap(2, 2 * kGb)}, kGb, 2)),
              (Counts{{1, 3}, {2, 2}}))
        << "a fifth more than its share";
    EXPECT_EQ(PartCounts(Plan({Heap(1, 3 * kGb), Heap(2, 3 * kGb), Heap(3, 3 * kGb)}, kGb, 2)),
              (Counts{{1, 1}, {2, 1}, {3, 3}}));
}

TEST(SplitPlanner, WholeTablesFillTheTimeOfOneThatCannotBeSplit) {
    TableSize never = Heap(1, 9 * kGb);
    never.splitting = Splitting::kNever;
    EXPECT_EQ(
        PartCounts(Plan({never, Heap(2, 5 * kGb), Heap(3, 4 * kGb), Heap(4, 3 * kGb)}, kGb, 2)),
        (Counts{{1, 1}, {2, 1}, {3, 1}, {4, 3}}));
}

TEST(SplitPlanner, WhatIsTooMuchToRepeatIsSplitAllTheSame) {
    EXPECT_EQ(PartCounts(Plan({Heap(1, 8 * kGb), Heap(2, 8 * kGb), Heap(3, 8 * kGb),
                               Heap(4, 8 * kGb), Heap(5, 10 * kGb), Heap(6, 10 * kGb)})),
              (Counts{{1, 1}, {2, 1}, {3, 1}, {4, 1}, {5, 10}, {6, 10}}));
}

TEST(SplitPlanner, SplitsWhatMustBe) {
    TableSize always = Heap(1, 2 * kGb);
    always.splitting = Splitting::kAlways;
    EXPECT_EQ(PartCounts(Plan({always, Heap(2, 2 * kGb), Heap(3, 2 * kGb)}, kGb, 2)),
              (Counts{{1, 2}, {2, 1}, {3, 1}}));
}

std::vector<uint64_t>
TableOrder(const std::vector<CopyPart> &parts) {
    std::vector<uint64_t> ids;
    for (const CopyPart &part : parts) {
        if (ids.empty() || ids.back() != part.table_id) {
            ids.push_back(part.table_id);
        }
    }
    return ids;
}

TEST(SplitPlanner, StartsWithTheLargestTable) {
    const auto parts = Plan({Heap(1, 100), Heap(2, 3 * kGb), Heap(3, kGb), Heap(4, 20 * kGb)});
    EXPECT_EQ(TableOrder(parts), (std::vector<uint64_t>{4, 2, 3, 1}));
    for (uint32_t i = 0; i < 20; ++i) {
        EXPECT_EQ(parts[i].part, i);
    }
}

TEST(SplitPlanner, TiesGoByTableId) {
    const auto parts =
        Plan({Heap(9, 5), Heap(3, 5), Heap(5, 5), Heap(4, 2 * kGb), Heap(2, 2 * kGb)});
    EXPECT_EQ(TableOrder(parts), (std::vector<uint64_t>{2, 4, 3, 5, 9}));
}

// A 1.5 TB table in one piece takes as long as the whole copy: it may not wait for a larger one
// that is cut into parts.
TEST(SplitPlanner, StartsAWholeLargeTableBeforeEverythingElse) {
    TableSize whole = Heap(8, 500 * kGb);
    whole.splitting = Splitting::kNever;
    TableSize smaller_whole = Heap(9, 2 * kGb);
    smaller_whole.splitting = Splitting::kNever;
    const auto parts = Plan({Heap(1, 900 * kGb), smaller_whole, Heap(2, kGb), whole});
    EXPECT_EQ(TableOrder(parts), (std::vector<uint64_t>{8, 9, 1, 2}));
}

} // namespace
} // namespace livemigrate
