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

// Megabytes of WAL in the next chunk at most; 0: none, the rest is streamed.
uint64_t
NextSize(BacklogPlan &plan, const BacklogState &state) {
    const std::optional<Chunk> chunk = plan.NextChunk(state);
    return chunk ? (chunk->end.value - state.received.value) / kMegabyte : 0;
}

uint64_t
FirstSize(uint64_t chunk_size, const BacklogState &state) {
    BacklogPlan plan(chunk_size);
    return NextSize(plan, state);
}

TEST(BacklogPlanTest, StreamsWhatIsNoBacklog) {
    EXPECT_EQ(FirstSize(64 * kMegabyte, State(0)), 0U);
    EXPECT_EQ(FirstSize(64 * kMegabyte, State(32 * kMegabyte - 1)), 0U);
    EXPECT_EQ(FirstSize(0, State(kStart)), 0U);
}

TEST(BacklogPlanTest, ReceivedMoreThanTheSourceHasFlushedIsNoBacklog) {
    BacklogState state = State(0);
    state.source_flushed = Lsn{kStart - 64 * kMegabyte};
    EXPECT_EQ(FirstSize(64 * kMegabyte, state), 0U);
}

TEST(BacklogPlanTest, AChunkThatIsFullIsFollowedByOneOfTwiceTheChanges) {
    BacklogPlan plan(64 * kMegabyte);
    for (const uint64_t expected : {32, 64, 128, 256, 512, 1024, 1024}) {
        const std::optional<Chunk> chunk = plan.NextChunk(State(1000 * kMegabyte));
        ASSERT_TRUE(chunk);
        EXPECT_EQ(chunk->end, Lsn{kStart + 64 * kMegabyte});
        EXPECT_EQ(chunk->most_changes, expected << 10);
        plan.Brought({.changes = chunk->most_changes, .bytes = kMegabyte}, Lsn{kStart + kMegabyte});
    }
}

TEST(BacklogPlanTest, AChunkThatIsNotFullIsFollowedByOneOfAsManyChanges) {
    BacklogPlan plan(64 * kMegabyte);
    const std::optional<Chunk> first = plan.NextChunk(State(1000 * kMegabyte));
    ASSERT_TRUE(first);
    plan.Brought({.changes = first->most_changes - 1, .bytes = kMegabyte}, first->end);
    const std::optional<Chunk> next = plan.NextChunk(State(1000 * kMegabyte));
    ASSERT_TRUE(next);
    EXPECT_EQ(next->most_changes, first->most_changes);
}

TEST(BacklogPlanTest, AChunkThatBroughtLittleIsFollowedByALongOne) {
    BacklogPlan plan(64 * kMegabyte);
    plan.NextChunk(State(1000 * kMegabyte));
    plan.Brought({.changes = 4095, .bytes = 8 * kMegabyte - 1}, Lsn{kStart + 64 * kMegabyte});
    EXPECT_EQ(NextSize(plan, State(1000 * kMegabyte)), 128U);
    plan.Brought({.changes = 4096, .bytes = kMegabyte}, Lsn{kStart + 128 * kMegabyte});
    EXPECT_EQ(NextSize(plan, State(1000 * kMegabyte)), 64U);
    plan.Brought({.changes = 1, .bytes = 8 * kMegabyte}, Lsn{kStart + 64 * kMegabyte});
    EXPECT_EQ(NextSize(plan, State(1000 * kMegabyte)), 64U);
}

TEST(BacklogPlanTest, SmallChunksAreReadToTheEnd) {
    BacklogPlan plan(kMegabyte);
    EXPECT_EQ(NextSize(plan, State(2 * kMegabyte)), 1U);
    plan.Brought({.changes = 1, .bytes = 1}, Lsn{kStart + kMegabyte});
    EXPECT_EQ(NextSize(plan, State(1 * kMegabyte)), 1U);
}

TEST(BacklogPlanTest, TheLastChunkEndsWhereTheSourceIs) {
    BacklogPlan plan(64 * kMegabyte);
    plan.NextChunk(State(1000 * kMegabyte));
    const std::optional<Chunk> last = plan.NextChunk(State(20 * kMegabyte + 3));
    ASSERT_TRUE(last);
    EXPECT_EQ(last->end, Lsn{kStart + 20 * kMegabyte + 3});
    EXPECT_EQ(NextSize(plan, State(16 * kMegabyte - 1)), 0U);
}

TEST(BacklogPlanTest, StreamsAfterAChunkThatBroughtNothing) {
    BacklogPlan plan(64 * kMegabyte);
    plan.NextChunk(State(1000 * kMegabyte));
    plan.Brought({}, Lsn{kStart + 64 * kMegabyte});
    EXPECT_EQ(NextSize(plan, State(1000 * kMegabyte)), 0U);
}

TEST(BacklogPlanTest, StreamsAfterAChunkThatBroughtOnlyWhatWasThere) {
    BacklogPlan plan(64 * kMegabyte);
    plan.NextChunk(State(1000 * kMegabyte));
    plan.Brought({.changes = 40'000, .bytes = kMegabyte}, Lsn{kStart});
    EXPECT_EQ(NextSize(plan, State(1000 * kMegabyte)), 0U);
}

TEST(BacklogPlanTest, StreamsWhatWouldBeReadAgainTooOften) {
    EXPECT_NE(FirstSize(32 * kMegabyte, State(1000 * kMegabyte, 256 * kMegabyte)), 0U);
    EXPECT_EQ(FirstSize(32 * kMegabyte, State(1000 * kMegabyte, 288 * kMegabyte)), 0U);
}

TEST(BacklogPlanTest, ChunksAreLongerWhereMuchIsReadAgain) {
    EXPECT_EQ(FirstSize(64 * kMegabyte, State(1000 * kMegabyte, 180 * kMegabyte)), 90U);
    EXPECT_EQ(FirstSize(64 * kMegabyte, State(1000 * kMegabyte, 300 * kMegabyte)), 128U);
}

TEST(BacklogPlanTest, AnAnswerIsBoundedByWhatTheLastOneCameTo) {
    BacklogPlan plan(64 * kMegabyte);
    plan.NextChunk(State(1000 * kMegabyte));
    plan.Brought({.changes = 1, .bytes = 16 * 32 * kMegabyte}, Lsn{kStart + 16 * kMegabyte});
    EXPECT_EQ(NextSize(plan, State(1000 * kMegabyte)), 32U);
    EXPECT_EQ(NextSize(plan, State(1000 * kMegabyte, 12 * kMegabyte)), 20U);
    EXPECT_EQ(NextSize(plan, State(1000 * kMegabyte, 17 * kMegabyte)), 0U);
}

TEST(BacklogPlanTest, AnAnswerComesFromWhatIsDecodedAgain) {
    BacklogPlan plan(64 * kMegabyte);
    plan.NextChunk(State(1000 * kMegabyte, 198 * kMegabyte));
    plan.Brought({.changes = 40'000, .bytes = 200 * kMegabyte}, Lsn{kStart + 2 * kMegabyte});
    EXPECT_EQ(NextSize(plan, State(1000 * kMegabyte, 100 * kMegabyte)), 64U);
}

TEST(BacklogPlanTest, AnUnknownAnswerIsTakenForTwiceItsWal) {
    EXPECT_EQ(FirstSize(64 * kMegabyte, State(1000 * kMegabyte, 490 * kMegabyte)), 22U);
    EXPECT_EQ(FirstSize(64 * kMegabyte, State(1000 * kMegabyte, 500 * kMegabyte)), 0U);
}

TEST(BacklogPlanTest, RestartBeyondWhatIsReceivedIsNothingToReadAgain) {
    BacklogState state = State(1000 * kMegabyte);
    state.restart_lsn = Lsn{kStart + 1};
    EXPECT_EQ(FirstSize(64 * kMegabyte, state), 64U);
}

} // namespace
} // namespace livemigrate
