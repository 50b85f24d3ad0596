#include "core/apply_progress.hpp"

#include <gtest/gtest.h>

#include <memory>

namespace livemigrate {
namespace {

std::unique_ptr<SharedState>
MakeState(uint32_t workers) {
    auto state = std::make_unique<SharedState>();
    state->apply_workers.store(workers);
    return state;
}

TEST(ApplyProgress, WhatAllHaveIsApplied) {
    const auto state = MakeState(2);
    state->apply[0].applied_lsn.store(200);
    state->apply[0].commit_time.store(20);
    PublishApplyProgress(*state);
    EXPECT_EQ(state->applied_lsn.load(), 0U);
    state->apply[1].applied_lsn.store(100);
    state->apply[1].commit_time.store(10);
    state->apply[0].flushed_lsn.store(90);
    state->apply[1].flushed_lsn.store(80);
    PublishApplyProgress(*state);
    EXPECT_EQ(state->applied_lsn.load(), 100U);
    EXPECT_EQ(state->applied_commit_time.load(), 10);
    EXPECT_EQ(state->applied_flushed_lsn.load(), 80U);
    EXPECT_EQ(state->drained_lsn.load(), 0U);
}

TEST(ApplyProgress, ItNeverGoesBack) {
    const auto state = MakeState(1);
    state->apply[0].applied_lsn.store(100);
    state->apply[0].drained_lsn.store(100);
    PublishApplyProgress(*state);
    state->apply[0].applied_lsn.store(50);
    state->apply[0].drained_lsn.store(50);
    PublishApplyProgress(*state);
    EXPECT_EQ(state->applied_lsn.load(), 100U);
    EXPECT_EQ(state->drained_lsn.load(), 100U);
}

TEST(ApplyProgress, ABarrierWaitsForAllOthers) {
    const auto state = MakeState(3);
    EXPECT_FALSE(OthersHaveArrived(*state, 0, 100));
    state->apply[1].arrived_lsn.store(100);
    EXPECT_FALSE(OthersHaveArrived(*state, 0, 100));
    state->apply[2].arrived_lsn.store(150);
    EXPECT_TRUE(OthersHaveArrived(*state, 0, 100));
    EXPECT_FALSE(OthersHaveArrived(*state, 0, 101));
    EXPECT_TRUE(OthersHaveArrived(*MakeState(1), 0, 100));
}

TEST(ApplyProgress, TheFurthestAndTheLastCount) {
    const auto state = MakeState(2);
    state->apply[0].committing.store(10);
    state->apply[1].committing.store(30);
    state->apply[2].committing.store(50); // not one of them
    EXPECT_EQ(FurthestCommit(*state), 30U);
    state->apply[0].keep_from.store(4);
    EXPECT_EQ(FirstSegmentNeeded(*state), 0U);
    state->apply[1].keep_from.store(3);
    EXPECT_EQ(FirstSegmentNeeded(*state), 3U);
}

TEST(ApplyProgress, OneHoldAndOneEndposForAll) {
    const auto state = MakeState(2);
    state->apply[0].held.store(70);
    EXPECT_FALSE(PublishHeld(*state));
    state->apply[1].held.store(70);
    EXPECT_TRUE(PublishHeld(*state));
    EXPECT_FALSE(PublishHeld(*state));
    EXPECT_EQ(state->hold.held.load(), 70U);

    state->apply[0].ended_at.store(90);
    state->apply[1].ended_at.store(95);
    PublishEndposReached(*state);
    EXPECT_EQ(state->endpos_reached.load(), 0U);
    state->apply[0].ended_at.store(95);
    PublishEndposReached(*state);
    EXPECT_EQ(state->endpos_reached.load(), 95U);
    ForgetEnds(*state);
    EXPECT_EQ(state->endpos_reached.load(), 0U);
    EXPECT_EQ(state->apply[1].ended_at.load(), 0U);
}

} // namespace
} // namespace livemigrate
