// Writing and reading the spool when nothing goes wrong, and what is refused.
#include "spool_fixture.hpp"

#include <sys/stat.h>

namespace livemigrate {
namespace {

using Records = std::vector<std::string>;

class Spool : public SpoolFixture {};

TEST(SpoolFormat, NamesOfSegments) {
    EXPECT_EQ(SegmentName(42), "000000000000002a.spool");
    EXPECT_EQ(ParseSegmentName("000000000000002a.spool"), 42U);
    EXPECT_EQ(ParseSegmentName("ffffffffffffffff.spool"), ~0ULL);
    for (const char *name :
         {"", ".spool", "2a.spool", "000000000000002A.spool", "000000000000002g.spool",
          "000000000000002a.spool~", "000000000000002a_spool", "-00000000000002a.spool"}) {
        EXPECT_FALSE(ParseSegmentName(name)) << name;
    }
}

TEST(SpoolFormat, PositionsAreOrdered) {
    EXPECT_LT((SpoolPosition{}), (SpoolPosition{1, 0}));
    EXPECT_LT((SpoolPosition{1, 500}), (SpoolPosition{2, 72}));
    EXPECT_LT((SpoolPosition{2, 72}), (SpoolPosition{2, 73}));
}

TEST_F(Spool, RoundTrip) {
    SpoolWriter writer(Options());
    EXPECT_TRUE(writer.Append(Lsn{100}, Begin(110)));
    EXPECT_TRUE(writer.in_transaction());
    EXPECT_TRUE(writer.Append(Lsn{100}, "I with \0 byte"));
    EXPECT_TRUE(writer.Append(Lsn{101}, ""));
    EXPECT_EQ(writer.last_end_lsn(), Lsn{});
    EXPECT_TRUE(writer.Append(Lsn{110}, Commit(110, 120)));
    EXPECT_FALSE(writer.in_transaction());
    EXPECT_EQ(writer.last_end_lsn(), Lsn{120});
    EXPECT_EQ(writer.synced_end_lsn(), Lsn{});

    EXPECT_EQ(ReadAll(writer.written()), Records{}); // still in the buffer
    writer.Flush();
    EXPECT_EQ(writer.synced_end_lsn(), Lsn{});
    EXPECT_EQ(ReadAll(writer.written()), (Records{"B 110", "I with \0 byte", "", "C 110 120"}));
    EXPECT_EQ(writer.Sync(), Lsn{120});
    EXPECT_EQ(writer.synced_end_lsn(), Lsn{120});
    EXPECT_EQ(writer.bytes_on_disk(), writer.written().offset);
}

TEST_F(Spool, RecordsCarryLsnAndPlace) {
    SpoolWriter writer(Options());
    writer.Append(Lsn{0x16B374D848}, Begin(1));
    writer.Append(Lsn{0x16B374D848}, "I same LSN"); // several changes may share one
    writer.Flush();
    SpoolReader reader(directory_, identity_);
    SpoolRecord record;
    ASSERT_TRUE(reader.Next(writer.written(), record));
    EXPECT_EQ(record.lsn, Lsn{0x16B374D848});
    EXPECT_EQ(record.position, (SpoolPosition{1, kSegmentHeaderSize}));
    const SpoolPosition second = reader.position();
    ASSERT_TRUE(reader.Next(writer.written(), record));
    EXPECT_EQ(record.lsn, Lsn{0x16B374D848});
    EXPECT_EQ(record.position, second);
    EXPECT_EQ(ReadAll(writer.written(), second), Records{"I same LSN"});
}

TEST_F(Spool, FilesArePrivate) {
    SpoolWriter writer(Options());
    struct stat status;
    ASSERT_EQ(::stat(Path(1).c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600U);
}

TEST_F(Spool, RotatesBetweenRecordsAndReadsAcross) {
    segment_size_ = 300;
    SpoolWriter writer(Options());
    Records expected;
    for (uint64_t i = 1; i <= 50; ++i) {
        AppendTransaction(writer, i * 100, i * 100 + 10, 3);
        expected.insert(expected.end(), {Begin(i * 100), "I row 0", "I row 1", "I row 2",
                                         Commit(i * 100, i * 100 + 10)});
    }
    writer.Flush();
    EXPECT_GT(CountSegments(), 10U);
    for (uint64_t segment = 1; segment < writer.written().segment; ++segment) {
        EXPECT_LE(ReadFile(segment).size(), segment_size_);
    }
    EXPECT_EQ(ReadAll(writer.written()), expected);
    EXPECT_EQ(ReadAll(), expected);
    // What lies in finished segments is synced.
    EXPECT_GE(writer.synced_end_lsn(), Lsn{4700});
    EXPECT_LT(writer.synced_end_lsn(), Lsn{5010});
}

TEST_F(Spool, LargeRecordsAcrossBuffersAndSegments) {
    segment_size_ = 1 << 20;
    SpoolWriter writer(Options());
    Records expected{Begin(1)};
    writer.Append(Lsn{1}, expected.back());
    for (size_t size : {1UL, 100UL, 200'000UL, 262'000UL, 262'127UL, 262'128UL, 262'144UL,
                        300'000UL, 5'000'000UL, 3UL, 1'048'576UL, 17UL}) {
        std::string payload(size, static_cast<char>('a' + expected.size()));
        payload[0] = 'I';
        writer.Append(Lsn{1}, payload);
        expected.push_back(std::move(payload));
    }
    writer.Flush();
    EXPECT_EQ(ReadAll(writer.written()), expected);
}

TEST_F(Spool, ReaderGivesBackTheMemoryOfALongRecord) {
    SpoolWriter writer(Options());
    writer.Append(Lsn{1}, Begin(1));
    writer.Append(Lsn{1}, std::string(20'000'000, 'I'));
    for (int i = 0; i < 1000; ++i) {
        writer.Append(Lsn{1}, std::string(1000, 'I'));
    }
    writer.Flush();
    SpoolReader reader(directory_, identity_);
    SpoolRecord record;
    ASSERT_TRUE(reader.Next(writer.written(), record));
    ASSERT_TRUE(reader.Next(writer.written(), record));
    EXPECT_EQ(record.payload.size(), 20'000'000U);
    ASSERT_TRUE(reader.Next(writer.written(), record));
    EXPECT_EQ(reader.buffer_size(), 256U << 10);
}

TEST_F(Spool, ReaderFollowsTheWriterUpToTheLimit) {
    segment_size_ = 500;
    SpoolWriter writer(Options());
    SpoolReader reader(directory_, identity_);
    SpoolRecord record;
    EXPECT_FALSE(reader.Next({}, record)); // no writer has said anything
    EXPECT_FALSE(reader.Next(writer.written(), record));
    for (uint64_t i = 1; i <= 100; ++i) {
        AppendTransaction(writer, i * 100, i * 100 + 10);
        EXPECT_FALSE(reader.Next({writer.written().segment, kSegmentHeaderSize}, record) &&
                     writer.buffered_bytes() == 0);
        writer.Flush();
        Records seen;
        while (reader.Next(writer.written(), record)) {
            seen.push_back(Describe(record));
        }
        ASSERT_FALSE(seen.empty());
        EXPECT_EQ(seen.back(), Commit(i * 100, i * 100 + 10));
        EXPECT_EQ(reader.position(), writer.written());
        EXPECT_FALSE(reader.Next(writer.written(), record));
    }
}

TEST_F(Spool, LimitStopsBeforeWhatIsThere) {
    segment_size_ = 200;
    SpoolWriter writer(Options());
    AppendTransaction(writer, 100, 110, 20);
    writer.Flush();
    const size_t total = ReadAll(writer.written()).size();
    ASSERT_EQ(total, 22U);
    SpoolReader walker(directory_, identity_);
    SpoolRecord record;
    for (size_t count = 1; walker.Next(writer.written(), record); ++count) {
        ASSERT_EQ(ReadAll(walker.position()).size(), count);
    }
}

TEST_F(Spool, DropsTransactionsThatItHas) {
    SpoolWriter writer(Options());
    AppendTransaction(writer, 100, 110);
    AppendTransaction(writer, 110, 120); // begins where the one before ends (D23)
    EXPECT_FALSE(writer.Append(Lsn{100}, Begin(100)));
    EXPECT_TRUE(writer.in_transaction());
    EXPECT_FALSE(writer.Append(Lsn{100}, "I row 0"));
    EXPECT_FALSE(writer.Append(Lsn{100}, Commit(100, 110)));
    EXPECT_FALSE(writer.in_transaction());
    AppendTransaction(writer, 110, 120);
    EXPECT_EQ(writer.duplicate_transactions(), 2U);
    AppendTransaction(writer, 120, 130);
    EXPECT_EQ(writer.last_end_lsn(), Lsn{130});
    writer.Flush();
    EXPECT_EQ(ReadAll(writer.written()),
              (Records{"B 100", "I row 0", "C 100 110", "B 110", "I row 0", "C 110 120", "B 120",
                       "I row 0", "C 120 130"}));
}

TEST_F(Spool, ResetOnlyInsideATransaction) {
    SpoolWriter writer(Options());
    writer.AppendReset();
    AppendTransaction(writer, 100, 110);
    writer.AppendReset();
    writer.Append(Lsn{100}, Begin(100)); // a duplicate, cut off
    writer.AppendReset();
    EXPECT_FALSE(writer.in_transaction());
    writer.Append(Lsn{200}, Begin(200));
    writer.AppendReset();
    EXPECT_FALSE(writer.in_transaction());
    AppendTransaction(writer, 200, 210);
    writer.Flush();
    EXPECT_EQ(ReadAll(writer.written()), (Records{"B 100", "I row 0", "C 100 110", "B 200", "reset",
                                                  "B 200", "I row 0", "C 200 210"}));
}

TEST_F(Spool, PositionsOfAnIdleSource) {
    SpoolWriter writer(Options());
    writer.AppendPosition(Lsn{50});
    writer.AppendPosition(Lsn{50});
    writer.AppendPosition(Lsn{40});
    EXPECT_EQ(writer.Sync(), Lsn{50});
    writer.Append(Lsn{60}, Begin(60));
    writer.AppendPosition(Lsn{70}); // inside a transaction: not ours to tell
    EXPECT_EQ(writer.Sync(), Lsn{50});
    writer.Append(Lsn{60}, Commit(60, 70));
    writer.AppendPosition(Lsn{100});
    AppendTransaction(writer, 100, 110); // commits right there: new
    EXPECT_EQ(writer.duplicate_transactions(), 0U);
    writer.Flush();
    EXPECT_EQ(ReadAll(writer.written()), (Records{"position 50", "B 60", "C 60 70", "position 100",
                                                  "B 100", "I row 0", "C 100 110"}));
}

TEST_F(Spool, MessagesOutOfOrderChangeNothing) {
    SpoolWriter writer(Options());
    EXPECT_EQ(Sqlstate([&] { writer.Append(Lsn{1}, Commit(100, 110)); }), "08P01");
    writer.Append(Lsn{1}, Begin(100));
    EXPECT_EQ(Sqlstate([&] { writer.Append(Lsn{1}, Begin(100)); }), "08P01");
    EXPECT_EQ(Sqlstate([&] { writer.Append(Lsn{1}, Commit(101, 110)); }), "08P01");
    EXPECT_EQ(Sqlstate([&] { writer.Append(Lsn{1}, Commit(100, 100)); }), "08P01");
    EXPECT_EQ(Sqlstate([&] { writer.Append(Lsn{1}, "B x"); }), "08P01");
    writer.Append(Lsn{1}, Commit(100, 110));
    writer.Append(Lsn{1}, Begin(100));
    EXPECT_EQ(Sqlstate([&] { writer.Append(Lsn{1}, Commit(100, 111)); }), "08P01");
    writer.Append(Lsn{1}, Commit(100, 110));
    writer.Flush();
    EXPECT_EQ(ReadAll(writer.written()), (Records{"B 100", "C 100 110"}));
}

TEST_F(Spool, PruneWhileReading) {
    segment_size_ = 300;
    SpoolWriter writer(Options());
    for (uint64_t i = 1; i <= 40; ++i) {
        AppendTransaction(writer, i * 100, i * 100 + 10);
    }
    writer.Flush();
    SpoolReader reader(directory_, identity_);
    SpoolRecord record;
    uint64_t removed = 0;
    size_t count = 0;
    EXPECT_EQ(writer.bytes_on_disk(), SpoolBytes(directory_));
    for (; reader.Next(writer.written(), record); ++count) {
        removed += PruneSpool(directory_, reader.position());
        ASSERT_EQ(writer.bytes_on_disk(), SpoolBytes(directory_));
    }
    EXPECT_EQ(count, 120U);
    EXPECT_EQ(removed, writer.written().segment - 1);
    EXPECT_EQ(CountSegments(), 1U);
    EXPECT_EQ(PruneSpool(directory_, {writer.written().segment + 10, 0}), 0U); // newest stays
    AppendTransaction(writer, 10'000, 10'010);
    writer.Flush();
    ASSERT_TRUE(reader.Next(writer.written(), record));
    EXPECT_EQ(Describe(record), "B 10000");
}

TEST_F(Spool, PositionSurvivesPruningToAnEmptySegment) {
    segment_size_ = 100;
    {
        SpoolWriter writer(Options());
        AppendTransaction(writer, 100, 110, 10);
        writer.Sync();
        PruneSpool(directory_, writer.written());
    }
    SpoolWriter writer(Options());
    EXPECT_EQ(writer.last_end_lsn(), Lsn{110});
    EXPECT_FALSE(writer.Append(Lsn{1}, Begin(100)));
}

TEST_F(Spool, RemoveLeavesNothing) {
    {
        SpoolWriter writer(Options());
        EXPECT_EQ(Sqlstate([&] { RemoveSpool(directory_); }), "55006");
    }
    EXPECT_GT(SpoolBytes(directory_), 0U);
    RemoveSpool(directory_);
    EXPECT_FALSE(std::filesystem::exists(directory_));
    EXPECT_EQ(SpoolBytes(directory_), 0U);
    RemoveSpool(directory_);
}

TEST_F(Spool, RefusesAnUnfitDirectory) {
    SpoolOptions options = Options();
    options.create = false;
    EXPECT_EQ(Sqlstate([&] { SpoolWriter writer(options); }), "55000"); // empty
    ::chmod(directory_.c_str(), 0750);
    EXPECT_EQ(Sqlstate([&] { SpoolWriter writer(Options()); }), "55000");
    EXPECT_EQ(Sqlstate([&] { SpoolReader reader(directory_, identity_); }), "55000");
    ::chmod(directory_.c_str(), 0700);
    options.directory += "/missing";
    EXPECT_EQ(Sqlstate([&] { SpoolWriter writer(options); }), "55000");
    EXPECT_EQ(ScanEnd(directory_, identity_), SpoolPosition{});
    EXPECT_EQ(Sqlstate([&] { ReadAll({1, 100}); }), "XX001"); // said to be written, not there
}

TEST_F(Spool, OneWriterAtATime) {
    SpoolWriter writer(Options());
    EXPECT_EQ(Sqlstate([&] { SpoolWriter second(Options()); }), "55006");
}

TEST_F(Spool, DoesNotFollowLinks) {
    const std::string target = directory_ + "/elsewhere";
    std::ofstream(target).put('x');
    std::filesystem::create_symlink(target, Path(1));
    EXPECT_EQ(Sqlstate([&] { SpoolWriter writer(Options()); }), "58030");
}

} // namespace
} // namespace livemigrate
