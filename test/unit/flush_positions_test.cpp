#include "core/flush_positions.hpp"

#include <gtest/gtest.h>

namespace livemigrate {
namespace {

TEST(FlushPositions, NothingIsFlushedAtFirst) {
    FlushPositions positions;
    EXPECT_FALSE(positions.FlushedUpTo(~0ULL));
    EXPECT_FALSE(positions.newest());
}

TEST(FlushPositions, GivesTheNewestFlushedEntryOnce) {
    FlushPositions positions;
    positions.Add(100, Lsn{1000}, {1, 10});
    positions.Add(200, Lsn{2000}, {1, 20});
    positions.Add(300, Lsn{3000}, {2, 30});
    EXPECT_FALSE(positions.FlushedUpTo(99));

    const auto flushed = positions.FlushedUpTo(200);
    ASSERT_TRUE(flushed);
    EXPECT_EQ(flushed->remote_end_lsn, Lsn{2000});
    EXPECT_EQ(flushed->spool_position, (SpoolPosition{1, 20}));
    EXPECT_EQ(positions.size(), 1U);

    EXPECT_FALSE(positions.FlushedUpTo(299));
    EXPECT_EQ(positions.FlushedUpTo(300)->remote_end_lsn, Lsn{3000});
    EXPECT_FALSE(positions.FlushedUpTo(300));
}

TEST(FlushPositions, NewestDoesNotWaitForTheFlush) {
    FlushPositions positions;
    positions.Add(100, Lsn{1000}, {1, 10});
    EXPECT_EQ(positions.newest()->remote_end_lsn, Lsn{1000});
    ASSERT_TRUE(positions.FlushedUpTo(100));
    EXPECT_EQ(positions.newest()->remote_end_lsn, Lsn{1000});
}

TEST(FlushPositions, WithoutALocalCommitTheOneBeforeCounts) {
    FlushPositions positions;
    positions.Add(0, Lsn{500}, {1, 5});
    EXPECT_EQ(positions.FlushedUpTo(0)->remote_end_lsn, Lsn{500});

    positions.Add(100, Lsn{1000}, {1, 10});
    positions.Add(0, Lsn{1500}, {1, 15});
    EXPECT_FALSE(positions.FlushedUpTo(99));
    EXPECT_EQ(positions.FlushedUpTo(100)->remote_end_lsn, Lsn{1500});

    // And it still counts after its entry is gone.
    positions.Add(0, Lsn{2000}, {1, 20});
    EXPECT_FALSE(positions.FlushedUpTo(99));
    EXPECT_TRUE(positions.FlushedUpTo(100));
}

TEST(FlushPositions, MergingNeverReportsEarlyAndKeepsTheNewest) {
    constexpr uint64_t kCount = 1000;
    for (size_t capacity : {2, 3, 7, 64}) {
        FlushPositions positions(capacity);
        for (uint64_t i = 1; i <= kCount; ++i) {
            positions.Add(i * 10, Lsn{i}, {1, i});
            ASSERT_LE(positions.size(), capacity);
        }
        Lsn last;
        for (uint64_t flush = 0; flush <= kCount * 10; ++flush) {
            if (const auto flushed = positions.FlushedUpTo(flush)) {
                ASSERT_LE(flushed->remote_end_lsn.value * 10, flush);
                ASSERT_GT(flushed->remote_end_lsn, last);
                last = flushed->remote_end_lsn;
            }
        }
        EXPECT_EQ(last, Lsn{kCount});
        EXPECT_EQ(positions.size(), 0U);
    }
}

} // namespace
} // namespace livemigrate
