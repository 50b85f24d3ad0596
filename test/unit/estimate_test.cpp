#include "core/estimate.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace livemigrate {
namespace {

constexpr double kMegabyte = 1024.0 * 1024;

EstimateRow
Row(const EstimateInput &input, const std::string &item) {
    for (const EstimateRow &row : Estimate(input)) {
        if (row.item == item) {
            return row;
        }
    }
    ADD_FAILURE() << "no row " << item;
    return {};
}

// Of a worker that does 10 MB a second.
BuildWork
Builds() {
    BuildWork work;
    work.bytes_done = static_cast<uint64_t>(100 * kMegabyte);
    work.seconds_done = 10;
    return work;
}

EstimateInput
Database() {
    EstimateInput input;
    input.tables = 10;
    input.table_bytes = static_cast<uint64_t>(1000 * kMegabyte);
    input.largest_table_bytes = static_cast<uint64_t>(600 * kMegabyte);
    input.indexes = 20;
    input.index_bytes = static_cast<uint64_t>(300 * kMegabyte);
    input.sequences = 100;
    input.table_jobs = input.index_jobs = 1;
    input.read_rate = 20 * kMegabyte;
    input.write_rate = 10 * kMegabyte;
    input.index_rate = 30 * kMegabyte;
    input.source_wal_rate = 1 * kMegabyte;
    input.sample_seconds = 3;
    return input;
}

TEST(EstimateTest, EveryRowSaysWhatItIsBasedOn) {
    for (const EstimateInput &input : {EstimateInput(), Database()}) {
        for (const EstimateRow &row : Estimate(input)) {
            EXPECT_FALSE(row.item.empty() || row.estimate.empty() || row.unit.empty() ||
                         row.basis.empty())
                << row.item;
        }
    }
}

TEST(EstimateTest, TheSlowerEndSetsThePace) {
    EXPECT_NEAR(Row(Database(), "stage_data").value, 100, 0.1);
    EXPECT_NEAR(Row(Database(), "stage_indexes").value, 10, 0.1);
}

TEST(EstimateTest, MoreWorkersHelpLessThanTheirNumber) {
    EstimateInput input = Database();
    input.table_jobs = 4;
    const double seconds = Row(input, "stage_data").value;
    EXPECT_LT(seconds, 100);
    EXPECT_GT(seconds, 25);
}

TEST(EstimateTest, ATableInOnePartHoldsTheCopyUp) {
    EstimateInput input = Database();
    input.table_jobs = 32;
    input.largest_is_split = false;
    EXPECT_NEAR(Row(input, "stage_data").value, 60, 0.1);
}

TEST(EstimateTest, SaysNeverWhenTheSourceIsFaster) {
    EstimateInput input = Database();
    EXPECT_TRUE(std::isfinite(Row(input, "stage_catchup").value));
    input.source_wal_rate = 100 * kMegabyte;
    EXPECT_TRUE(std::isinf(Row(input, "stage_catchup").value));
    EXPECT_EQ(Row(input, "stage_catchup").estimate, "never, at this rate");
}

TEST(EstimateTest, CountsWhatIsNeeded) {
    EstimateInput input = Database();
    input.table_jobs = 6;
    EXPECT_EQ(Row(input, "source_connections").value, 10);
    EXPECT_EQ(Row(input, "target_workers").value, 9);
    EXPECT_GT(Row(input, "target_disk").value, 1300 * kMegabyte);
    EXPECT_NEAR(Row(input, "downtime").value, 1.2, 0.01);
}

TEST(SecondsToBuildTest, NothingIsKnownBeforeSomethingIsDone) {
    BuildWork work;
    work.bytes_waiting = work.largest_waiting = 1000;
    work.running.push_back({1000, 5});
    EXPECT_EQ(SecondsToBuild(work, 4), std::nullopt);
}

TEST(SecondsToBuildTest, NothingLeft) {
    EXPECT_EQ(SecondsToBuild(Builds(), 4), 0);
}

TEST(SecondsToBuildTest, WorkersShareWhatWaits) {
    BuildWork work = Builds();
    work.bytes_waiting = static_cast<uint64_t>(200 * kMegabyte);
    work.largest_waiting = static_cast<uint64_t>(10 * kMegabyte);
    EXPECT_NEAR(*SecondsToBuild(work, 1), 20, 0.01);
    EXPECT_LT(*SecondsToBuild(work, 4), 10);
}

TEST(SecondsToBuildTest, TheLargestIsBuiltByOne) {
    BuildWork work = Builds();
    work.bytes_waiting = work.largest_waiting = static_cast<uint64_t>(200 * kMegabyte);
    EXPECT_NEAR(*SecondsToBuild(work, 4), 20, 0.01);
}

TEST(SecondsToBuildTest, WhatRunsIsPartlyDone) {
    BuildWork work = Builds();
    work.running.push_back({static_cast<uint64_t>(100 * kMegabyte), 4});
    EXPECT_NEAR(*SecondsToBuild(work, 1), 6, 0.01);
}

TEST(SecondsToBuildTest, WhatRunsTooLongIsNotDoneAndSlowsAllDown) {
    BuildWork work = Builds();
    work.running.push_back({static_cast<uint64_t>(100 * kMegabyte), 10});
    const double soon = *SecondsToBuild(work, 1);
    EXPECT_GT(soon, 0);
    work.running[0].seconds = 1000;
    work.bytes_waiting = static_cast<uint64_t>(100 * kMegabyte);
    EXPECT_GT(*SecondsToBuild(work, 1), 10 * soon);
}

} // namespace
} // namespace livemigrate
