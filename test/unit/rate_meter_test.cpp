// Rates as they are shown: smoothed, and never below zero.
#include "core/rate_meter.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>

namespace livemigrate {
namespace {

using std::chrono::milliseconds;

class RateMeterTest : public ::testing::Test {
  protected:
    // A sample `after` the last one, when `bytes` more have been copied.
    double
    Copy(int64_t bytes, milliseconds after = milliseconds(1000)) {
        now_ += after;
        copied_ += static_cast<uint64_t>(bytes);
        meter_.Sample(*state_, copied_, now_);
        return state_->copy_bytes_per_second.load();
    }

    std::unique_ptr<SharedState> state_ = std::make_unique<SharedState>();
    RateMeter meter_;

  private:
    RateMeter::Clock::time_point now_{milliseconds(5000)};
    uint64_t copied_ = 1000000;
};

TEST_F(RateMeterTest, AConstantRateIsShownFromTheSecondSampleOn) {
    EXPECT_EQ(Copy(0), 0);
    for (int i = 0; i < 100; i++) {
        EXPECT_DOUBLE_EQ(Copy(300, milliseconds(1500)), 200);
    }
}

TEST_F(RateMeterTest, AChangeOfPaceShowsForTheMostPartAfterTenSeconds) {
    Copy(0);
    Copy(100);
    double rate = 0;
    for (int i = 0; i < 10; i++) {
        rate = Copy(200);
    }
    EXPECT_NEAR(rate, 100 + 100 * (1 - std::exp(-1)), 0.001);
    // However often it is looked at.
    EXPECT_NEAR(Copy(3000, milliseconds(10000)), 300 - (300 - rate) * std::exp(-1), 0.001);
}

TEST_F(RateMeterTest, MoreThanOneSampleASecondIsIgnored) {
    Copy(0);
    EXPECT_DOUBLE_EQ(Copy(500), 500);
    EXPECT_DOUBLE_EQ(Copy(100000, milliseconds(999)), 500);
    EXPECT_NEAR(Copy(0, milliseconds(1)), 500 + 99500 * (1 - std::exp(-0.1)), 0.001);
}

TEST_F(RateMeterTest, ACounterThatRunsBackwardsIsNoRateBelowZero) {
    Copy(0);
    EXPECT_DOUBLE_EQ(Copy(500), 500);
    EXPECT_NEAR(Copy(-900), 500 * std::exp(-0.1), 0.001);
    EXPECT_GE(Copy(-900), 0);
}

TEST_F(RateMeterTest, AResetBeginsAnew) {
    Copy(0);
    Copy(500);
    state_->changes_per_second.store(7);
    meter_.Reset(*state_);
    EXPECT_EQ(state_->copy_bytes_per_second.load(), 0);
    EXPECT_EQ(state_->changes_per_second.load(), 0);
    EXPECT_EQ(Copy(5000), 0);
    EXPECT_DOUBLE_EQ(Copy(700), 700);
}

TEST_F(RateMeterTest, PositionsCountOnceTheyAreKnown) {
    Copy(0);
    state_->applied_lsn.store(1 << 20);
    state_->source_lsn.store(1 << 20);
    Copy(0);
    EXPECT_EQ(state_->apply_bytes_per_second.load(), 0);
    state_->applied_lsn.fetch_add(100);
    state_->source_lsn.fetch_add(200);
    state_->changes_applied.fetch_add(3);
    Copy(0);
    EXPECT_DOUBLE_EQ(state_->apply_bytes_per_second.load(), 100);
    EXPECT_DOUBLE_EQ(state_->source_bytes_per_second.load(), 200);
    EXPECT_DOUBLE_EQ(state_->changes_per_second.load(), 3);
}

} // namespace
} // namespace livemigrate
