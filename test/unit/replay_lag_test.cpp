#include "core/replay_lag.hpp"

#include <gtest/gtest.h>

#include <memory>

namespace livemigrate {
namespace {

class ReplayLagTest : public testing::Test {
  protected:
    std::unique_ptr<SharedState> state_ = std::make_unique<SharedState>();
};

TEST_F(ReplayLagTest, IsUnknownBeforeAnythingWasApplied) {
    state_->received_lsn = 100;
    EXPECT_EQ(ReplayLag(*state_, 5000), std::nullopt);
}

TEST_F(ReplayLagTest, CountsByTheSourcesClock) {
    state_->received_lsn = 100;
    state_->applied_commit_time = 1000;
    state_->source_clock_offset = -500;
    EXPECT_EQ(ReplayLag(*state_, 5000), 3500);
    EXPECT_EQ(ReplayLag(*state_, 1200), 0) << "never negative";
}

TEST_F(ReplayLagTest, IsZeroWhenAllThatWasReceivedIsApplied) {
    state_->received_lsn = 100;
    state_->applied_commit_time = 1000;
    state_->drained_lsn = 100;
    EXPECT_EQ(ReplayLag(*state_, 5000), 0);
    state_->received_lsn = 101;
    EXPECT_EQ(ReplayLag(*state_, 5000), 4000);
}

// The source goes on writing after endpos, and nobody is behind because of that.
TEST_F(ReplayLagTest, DoesNotCountUpAfterEndpos) {
    state_->received_lsn = 200;
    state_->drained_lsn = 100;
    state_->applied_commit_time = 1000;
    state_->endpos = 100;
    EXPECT_EQ(ReplayLag(*state_, 5000), 4000);
    state_->endpos_reached = 100;
    EXPECT_EQ(ReplayLag(*state_, 5000), 0);
    state_->endpos = 150; // set again, later
    EXPECT_EQ(ReplayLag(*state_, 5000), 4000);
}

TEST(PaceTest, TellsTheTimeToCatchUp) {
    EXPECT_EQ(SecondsToCatchUp({0, 0, 0}), 0);
    EXPECT_EQ(SecondsToCatchUp({300, 100, 1000}), 5);
    EXPECT_EQ(SecondsToCatchUp({100, 100, 1000}), std::nullopt);
    EXPECT_EQ(SecondsToCatchUp({0, 100, 1000}), std::nullopt);
}

TEST(PaceTest, WarnsOnlyWhenItMatters) {
    constexpr uint64_t kMuch = 64 << 20;
    EXPECT_TRUE(IsNotConverging({100, 200, kMuch}, 60));
    EXPECT_TRUE(IsNotConverging({0, 200, kMuch}, 60)) << "apply stands still";
    EXPECT_FALSE(IsNotConverging({100, 200, kMuch}, 5)) << "too early to say";
    EXPECT_FALSE(IsNotConverging({100, 200, 1 << 20}, 60)) << "nothing to speak of";
    EXPECT_FALSE(IsNotConverging({200, 100, kMuch}, 60));
}

} // namespace
} // namespace livemigrate
