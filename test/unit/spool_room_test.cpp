#include "core/spool_room.hpp"

#include "spool_fixture.hpp"

namespace livemigrate {
namespace {

constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();

TEST(RoomInSpool, WithoutLimits) {
    const SpoolRoom room = RoomInSpool({.size = 1ULL << 40, .free_disk = 0});
    EXPECT_EQ(room.hold, SpoolHold::kNone);
    EXPECT_EQ(room.bytes, kUnlimited);
}

TEST(RoomInSpool, BelowTheLimit) {
    const SpoolRoom room = RoomInSpool({.size = 30, .size_limit = 100, .apply_makes_room = true});
    EXPECT_EQ(room.hold, SpoolHold::kNone);
    EXPECT_EQ(room.bytes, 70U);
}

TEST(RoomInSpool, WaitsForApplyAtTheLimit) {
    for (uint64_t size : {100, 5000}) {
        const SpoolRoom room =
            RoomInSpool({.size = size, .size_limit = 100, .apply_makes_room = true});
        EXPECT_EQ(room.hold, SpoolHold::kSizeLimit);
        EXPECT_EQ(room.bytes, 0U);
    }
}

// A transaction larger than the limit must not wait for itself.
TEST(RoomInSpool, GoesBeyondTheLimitWhenApplyCannotMakeRoom) {
    const SpoolRoom room = RoomInSpool({.size = 100, .size_limit = 100});
    EXPECT_EQ(room.hold, SpoolHold::kOversized);
    EXPECT_GT(room.bytes, 0U);
    EXPECT_LT(room.bytes, kUnlimited); // and looks again soon
}

TEST(RoomInSpool, TheDiskGuardHoldsWhateverTheLimit) {
    for (uint64_t limit : {0, 100, 100'000}) {
        for (uint64_t free : {0, 499, 500}) {
            const SpoolRoom room = RoomInSpool(
                {.size = 1000, .free_disk = free, .size_limit = limit, .min_free_disk = 500});
            EXPECT_EQ(room.hold, SpoolHold::kFreeDisk);
            EXPECT_EQ(room.bytes, 0U);
        }
    }
    EXPECT_EQ(RoomInSpool({.free_disk = 510, .min_free_disk = 500}).bytes, 10U);
    EXPECT_EQ(RoomInSpool({.free_disk = 510, .size_limit = 5, .min_free_disk = 500}).bytes, 5U);
}

TEST(RoomInSpool, SegmentsFitTheLimit) {
    EXPECT_EQ(SegmentSizeUnderLimit(64, 0), 64U);
    EXPECT_EQ(SegmentSizeUnderLimit(64, 1000), 64U);
    EXPECT_EQ(SegmentSizeUnderLimit(64, 100), 25U);
}

TEST(RoomInSpool, TextNamesTheSetting) {
    const SpoolHoldText text = DescribeSpoolHold(SpoolHold::kSizeLimit, 8 << 20, 0);
    EXPECT_EQ(text.message,
              "waiting for apply: the spool has reached livemigrate.spool_size_limit (8 MB)");
    EXPECT_FALSE(text.hint.empty());
    EXPECT_TRUE(DescribeSpoolHold(SpoolHold::kNone, 1, 1).message.empty());
}

// What the writer tells about its side of it.
class SpoolSize : public SpoolFixture {
  protected:
    SpoolSize() { segment_size_ = 200; }

    static bool
    ApplyMakesRoom(SpoolWriter &writer, uint64_t applied_flushed) {
        writer.bytes_on_disk();
        return writer.ApplyMakesRoom(Lsn{applied_flushed});
    }

    static void
    AppendRows(SpoolWriter &writer, int rows) {
        for (int row = 0; row < rows; ++row) {
            writer.Append(Lsn{1}, "I row " + std::to_string(row));
        }
    }
};

TEST_F(SpoolSize, CountsWhatIsBuffered) {
    segment_size_ = 64 << 20;
    SpoolWriter writer(Options());
    const uint64_t before = writer.size();
    AppendTransaction(writer, 100, 110);
    const uint64_t size = writer.size();
    EXPECT_GT(size, before);
    EXPECT_EQ(SpoolBytes(directory_), before);
    writer.Flush();
    EXPECT_EQ(writer.size(), size);
    EXPECT_EQ(SpoolBytes(directory_), size);
    EXPECT_GT(writer.free_disk_bytes(), 0U);
}

TEST_F(SpoolSize, ApplyMakesRoomUpToTheLastCommit) {
    SpoolWriter writer(Options());
    AppendTransaction(writer, 100, 110);
    EXPECT_FALSE(ApplyMakesRoom(writer, 0)); // the newest segment stays
    AppendTransaction(writer, 200, 210, 10);
    const uint64_t segment = writer.written().segment;
    ASSERT_GT(segment, 1U);
    EXPECT_TRUE(ApplyMakesRoom(writer, 0));
    EXPECT_TRUE(ApplyMakesRoom(writer, 110));
    // Applied already, by a worker that did not come to removing it: that waits for the next.
    EXPECT_FALSE(ApplyMakesRoom(writer, 210));
    PruneSpool(directory_, {segment, 0});
    EXPECT_FALSE(ApplyMakesRoom(writer, 110));
}

// Its segments stay until its commit is there, whatever apply does.
TEST_F(SpoolSize, AnOpenTransactionIsNoRoom) {
    SpoolWriter writer(Options());
    AppendTransaction(writer, 100, 110);
    const uint64_t segment = writer.written().segment;
    writer.Append(Lsn{1}, Begin(200));
    AppendRows(writer, 30);
    ASSERT_GT(writer.written().segment, segment + 2);
    EXPECT_FALSE(ApplyMakesRoom(writer, 0));
    writer.Append(Lsn{1}, Commit(200, 210));
    EXPECT_TRUE(ApplyMakesRoom(writer, 110));
}

TEST_F(SpoolSize, IsKnownAfterOpening) {
    uint64_t size = 0;
    {
        SpoolWriter writer(Options());
        AppendTransaction(writer, 100, 110, 10);
        AppendTransaction(writer, 200, 210, 10);
        writer.Append(Lsn{1}, Begin(300));
        AppendRows(writer, 30);
        writer.AppendReset();
        writer.AppendPosition(Lsn{400});
        writer.Sync();
        size = writer.size();
    }
    SpoolWriter writer(Options());
    EXPECT_EQ(writer.size(), size);
    EXPECT_TRUE(ApplyMakesRoom(writer, 110));
    EXPECT_FALSE(ApplyMakesRoom(writer, 210)); // a position is nothing to apply
}

TEST_F(SpoolSize, SegmentSizeMayChange) {
    SpoolWriter writer(Options());
    writer.set_segment_size(10'000);
    for (uint64_t i = 1; i <= 20; ++i) {
        AppendTransaction(writer, i * 100, i * 100 + 10);
    }
    EXPECT_EQ(writer.written().segment, 1U);
    writer.set_segment_size(200);
    AppendTransaction(writer, 3000, 3010);
    EXPECT_GT(writer.written().segment, 1U);
    writer.Sync();
    EXPECT_EQ(ReadAll().size(), 63U);
}

} // namespace
} // namespace livemigrate
