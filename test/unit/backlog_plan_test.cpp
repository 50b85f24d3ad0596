#include "core/backlog_plan.hpp"

#include <gtest/gtest.h>

namespace livemigrate {
namespace {

constexpr uint64_t kMegabyte = 1 << 20;
constexpr uint64_t kStart = uint64_t{7} << 30;

// A slot whose restart_lsn is `again` behind what is received, and a source `backlog` ahead of it.
BacklogState
State(uint64_t backlog, uint64_t again = 0) {
    return {.restart_lsn = Lsn{kStart - again},
            .received = Lsn{kStart},
            .source_flushed = Lsn{kStart + backlog},
            .confirmed = {}};
}

std::optional<uint64_t>
Megabytes(const std::optional<Lsn> &end) {
    return end ? std::optional((end->value - kStart) / kMegabyte) : std::nullopt;
}

TEST(BacklogPlanTest, StreamsWhatIsNoBacklog) {
    EXPECT_EQ(BacklogPlan(64 * kMegabyte).NextChunk(State(0)), std::nullopt);
    EXPECT_EQ(BacklogPlan(64 * kMegabyte).NextChunk(State(32 * kMegabyte - 1)), std::nullopt);
    EXPECT_EQ(BacklogPlan(0).NextChunk(State(kStart)), std::nullopt);
}

TEST(BacklogPlanTest, ReceivedMoreThanTheSourceHasFlushedIsNoBacklog) {
    BacklogState state = State(0);
    state.source_flushed = Lsn{kStart - 64 * kMegabyte};
    EXPECT_EQ(BacklogPlan(64 * kMegabyte).NextChunk(state), std::nullopt);
}

TEST(BacklogPlanTest, ChunksGrowToTheGivenSize) {
    BacklogPlan plan(64 * kMegabyte);
    for (uint64_t expected : {16, 32, 64, 64}) {
        EXPECT_EQ(Megabytes(plan.NextChunk(State(1000 * kMegabyte))), expected);
        plan.Brought({.changes = 1, .bytes = expected * kMegabyte / 8});
    }
}

TEST(BacklogPlanTest, AChunkThatBroughtLittleIsFollowedByALongOne) {
    BacklogPlan plan(64 * kMegabyte);
    plan.NextChunk(State(1000 * kMegabyte));
    plan.Brought({.changes = 1, .bytes = 2 * kMegabyte - 1});
    EXPECT_EQ(Megabytes(plan.NextChunk(State(1000 * kMegabyte))), 128U);
    plan.Brought({.changes = 1, .bytes = 128 * kMegabyte});
    EXPECT_EQ(Megabytes(plan.NextChunk(State(1000 * kMegabyte))), 64U);
}

TEST(BacklogPlanTest, SmallChunksAreNotGrown) {
    BacklogPlan plan(kMegabyte);
    EXPECT_EQ(Megabytes(plan.NextChunk(State(2 * kMegabyte))), 1U);
    EXPECT_EQ(Megabytes(plan.NextChunk(State(2 * kMegabyte))), 1U);
}

TEST(BacklogPlanTest, TheLastChunkEndsWhereTheSourceIs) {
    BacklogPlan plan(64 * kMegabyte);
    plan.NextChunk(State(1000 * kMegabyte));
    EXPECT_EQ(plan.NextChunk(State(20 * kMegabyte + 3)), Lsn{kStart + 20 * kMegabyte + 3});
    EXPECT_EQ(plan.NextChunk(State(16 * kMegabyte - 1)), std::nullopt);
}

TEST(BacklogPlanTest, ManySmallChangesAreNotLittle) {
    BacklogPlan plan(64 * kMegabyte);
    plan.NextChunk(State(1000 * kMegabyte));
    plan.Brought({.changes = 8192, .bytes = kMegabyte});
    EXPECT_EQ(Megabytes(plan.NextChunk(State(1000 * kMegabyte))), 32U);
}

TEST(BacklogPlanTest, StreamsAfterAChunkThatBroughtNothing) {
    BacklogPlan plan(64 * kMegabyte);
    plan.NextChunk(State(1000 * kMegabyte));
    plan.Brought({});
    EXPECT_EQ(plan.NextChunk(State(1000 * kMegabyte)), std::nullopt);
}

TEST(BacklogPlanTest, StreamsWhatWouldBeReadAgainTooOften) {
    EXPECT_NE(BacklogPlan(32 * kMegabyte).NextChunk(State(1000 * kMegabyte, 256 * kMegabyte)),
              std::nullopt);
    EXPECT_EQ(BacklogPlan(32 * kMegabyte).NextChunk(State(1000 * kMegabyte, 288 * kMegabyte)),
              std::nullopt);
}

TEST(BacklogPlanTest, ChunksAreLongerWhereMuchIsReadAgain) {
    EXPECT_EQ(
        Megabytes(BacklogPlan(64 * kMegabyte).NextChunk(State(1000 * kMegabyte, 90 * kMegabyte))),
        45U);
    EXPECT_EQ(
        Megabytes(BacklogPlan(64 * kMegabyte).NextChunk(State(1000 * kMegabyte, 300 * kMegabyte))),
        128U);
}

TEST(BacklogPlanTest, AnAnswerIsBoundedByWhatTheLastOneCameTo) {
    BacklogPlan plan(64 * kMegabyte);
    plan.NextChunk(State(1000 * kMegabyte));
    plan.Brought({.changes = 1, .bytes = 16 * 32 * kMegabyte});
    EXPECT_EQ(Megabytes(plan.NextChunk(State(1000 * kMegabyte))), 32U);
    plan.Brought({.changes = 1, .bytes = 32 * 32 * kMegabyte});
    EXPECT_EQ(Megabytes(plan.NextChunk(State(1000 * kMegabyte, 12 * kMegabyte))), 20U);
    EXPECT_EQ(plan.NextChunk(State(1000 * kMegabyte, 17 * kMegabyte)), std::nullopt);
}

TEST(BacklogPlanTest, AnUnknownAnswerIsTakenForTwiceItsWal) {
    EXPECT_EQ(
        Megabytes(BacklogPlan(64 * kMegabyte).NextChunk(State(1000 * kMegabyte, 490 * kMegabyte))),
        22U);
    EXPECT_EQ(BacklogPlan(64 * kMegabyte).NextChunk(State(1000 * kMegabyte, 500 * kMegabyte)),
              std::nullopt);
}

TEST(BacklogPlanTest, RestartBeyondWhatIsReceivedIsNothingToReadAgain) {
    BacklogState state = State(1000 * kMegabyte);
    state.restart_lsn = Lsn{kStart + 1};
    EXPECT_EQ(Megabytes(BacklogPlan(64 * kMegabyte).NextChunk(state)), 16U);
}

} // namespace
} // namespace livemigrate
