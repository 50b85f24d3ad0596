// What becomes of the spool after a crash, and of one that is damaged or not ours.
#include "spool_fixture.hpp"

#include "core/crc32c.hpp"
#include "core/transaction_reader.hpp"

namespace livemigrate {
namespace {

using Records = std::vector<std::string>;

class SpoolRecovery : public SpoolFixture {
  protected:
    // Three transactions; returns where the records of the segment begin and end.
    std::vector<uint64_t>
    WriteThree() {
        {
            SpoolWriter writer(Options());
            AppendTransaction(writer, 100, 110);
            AppendTransaction(writer, 110, 120);
            AppendTransaction(writer, 150, 160);
            writer.Sync();
        }
        std::vector<uint64_t> edges{kSegmentHeaderSize};
        SpoolReader reader(directory_, identity_);
        SpoolRecord record;
        while (reader.Next(ScanEnd(directory_, identity_), record)) {
            edges.push_back(reader.position().offset);
        }
        return edges;
    }

    // Several small segments, the tail of the last whole.
    uint64_t
    WriteSegments() {
        segment_size_ = 200;
        SpoolWriter writer(Options());
        for (uint64_t i = 1; i <= 10; ++i) {
            AppendTransaction(writer, i * 100, i * 100 + 10);
        }
        writer.Sync();
        return writer.written().segment;
    }
};

TEST_F(SpoolRecovery, ReopensAndAppends) {
    for (uint64_t i = 1; i <= 20; ++i) {
        segment_size_ = i % 3 == 0 ? 100 : 1000;
        SpoolWriter writer(Options());
        EXPECT_EQ(writer.last_end_lsn(), i == 1 ? Lsn{} : Lsn{(i - 1) * 100 + 10});
        EXPECT_EQ(writer.synced_end_lsn(), writer.last_end_lsn());
        EXPECT_EQ(writer.truncated_bytes(), 0U);
        EXPECT_EQ(writer.bytes_on_disk(), SpoolBytes(directory_));
        AppendTransaction(writer, i * 100, i * 100 + 10);
        writer.Sync();
    }
    const Records records = ReadAll();
    ASSERT_EQ(records.size(), 60U);
    EXPECT_EQ(records.back(), "C 2000 2010");
}

TEST_F(SpoolRecovery, NewSpoolBeginsAtTheConsistentPoint) {
    SpoolOptions options = Options();
    options.start_lsn = Lsn{100};
    options.confirmed_flush_lsn = Lsn{100};
    {
        SpoolWriter writer(options);
        EXPECT_EQ(writer.last_end_lsn(), Lsn{100});
        EXPECT_EQ(writer.synced_end_lsn(), Lsn{100});
        AppendTransaction(writer, 100, 110);
        EXPECT_EQ(writer.duplicate_transactions(), 0U);
    }
    SpoolWriter writer(options); // nothing was flushed
    EXPECT_EQ(writer.last_end_lsn(), Lsn{100});
}

// Nothing has been applied yet, so the caller would have a new one: the slot knows better.
TEST_F(SpoolRecovery, LostSpoolIsNotBegunAnew) {
    SpoolOptions options = Options();
    options.start_lsn = Lsn{100};
    options.confirmed_flush_lsn = Lsn{110};
    EXPECT_EQ(Sqlstate([&] { SpoolWriter writer(options); }), "55000");
    EXPECT_EQ(CountSegments(), 0U);
}

// Crash between fsync and feedback (R04), or a source that fell back (R06).
TEST_F(SpoolRecovery, WhatIsSentAgainAfterACrashIsDropped) {
    WriteThree();
    SpoolWriter writer(Options());
    AppendTransaction(writer, 100, 110);
    AppendTransaction(writer, 110, 120);
    AppendTransaction(writer, 150, 160);
    AppendTransaction(writer, 160, 170);
    EXPECT_EQ(writer.duplicate_transactions(), 3U);
    writer.Sync();
    EXPECT_EQ(ReadAll().size(), 12U);
}

TEST_F(SpoolRecovery, UnflushedChangesComeAgain) {
    {
        SpoolWriter writer(Options());
        AppendTransaction(writer, 100, 110);
        writer.Flush();
        AppendTransaction(writer, 200, 210);
    }
    SpoolWriter writer(Options());
    EXPECT_EQ(writer.last_end_lsn(), Lsn{110});
    AppendTransaction(writer, 200, 210);
    writer.Sync();
    EXPECT_EQ(ReadAll().size(), 6U);
}

TEST_F(SpoolRecovery, TransactionOpenAtTheEndIsTakenBack) {
    {
        SpoolWriter writer(Options());
        AppendTransaction(writer, 100, 110);
        writer.Append(Lsn{200}, Begin(200));
        writer.Append(Lsn{200}, "I half");
        writer.Flush();
    }
    {
        SpoolWriter writer(Options());
        EXPECT_FALSE(writer.in_transaction());
        EXPECT_EQ(writer.last_end_lsn(), Lsn{110});
        EXPECT_EQ(ReadAll(writer.written()).back(), "reset");
    }
    SpoolWriter writer(Options()); // once is enough
    AppendTransaction(writer, 200, 210);
    writer.Sync();
    EXPECT_EQ(ReadAll(), (Records{"B 100", "I row 0", "C 100 110", "B 200", "I half", "reset",
                                  "B 200", "I row 0", "C 200 210"}));
}

// R02: the last record is cut at each of its bytes, and each is replaced by zeroes, as a file
// system leaves them.
TEST_F(SpoolRecovery, TornTailIsCutAtEveryByte) {
    const std::vector<uint64_t> edges = WriteThree();
    const std::string intact = ReadFile(1);
    const uint64_t last = edges[edges.size() - 2];
    for (uint64_t cut = last; cut < intact.size(); ++cut) {
        for (bool zeroes : {false, true}) {
            std::string torn = intact.substr(0, cut);
            torn.append(zeroes ? 5000 : 0, '\0');
            WriteFile(1, torn);
            ASSERT_EQ(ScanEnd(directory_, identity_), (SpoolPosition{1, last}));
            SpoolWriter writer(Options());
            ASSERT_EQ(writer.last_end_lsn(), Lsn{120});
            ASSERT_EQ(writer.truncated_bytes(), torn.size() - last);
            ASSERT_EQ(ReadAll(writer.written()).back(), "reset");
            AppendTransaction(writer, 150, 160);
            writer.Sync();
            ASSERT_EQ(ReadAll(writer.written()).back(), "C 150 160");
        }
    }
}

// The bytes behind the cut are those of another record of the same spool.
TEST_F(SpoolRecovery, StaleBytesDoNotPass) {
    const std::vector<uint64_t> edges = WriteThree();
    const std::string intact = ReadFile(1);
    // Records 3 to 5 are as long as records 0 to 2, and 6 to 8 too.
    for (size_t from : {0U, 3U}) {
        std::string stale = intact.substr(0, edges[6]);
        stale += intact.substr(edges[from], edges[from + 3] - edges[from]);
        WriteFile(1, stale);
        EXPECT_EQ(ScanEnd(directory_, identity_), (SpoolPosition{1, edges[6]}));
    }
    // Nor those of the same place in another segment, or in a spool with another token.
    for (bool other_token : {false, true}) {
        SegmentHeader header{.identity = identity_, .segment = 2};
        if (other_token) {
            header = {.identity = identity_, .segment = 1};
            header.identity.token[0] ^= 1;
        }
        const SegmentHeaderBytes bytes = EncodeSegmentHeader(header);
        std::filesystem::remove(Path(1));
        WriteFile(header.segment,
                  std::string(bytes.data(), bytes.size()) + intact.substr(kSegmentHeaderSize));
        EXPECT_EQ(ScanEnd(directory_, header.identity),
                  (SpoolPosition{header.segment, kSegmentHeaderSize}));
        std::filesystem::remove(Path(header.segment));
    }
}

// R03: nothing is read from a record with a flipped bit, nor from behind it.
TEST_F(SpoolRecovery, FlippedBitsAreFoundEverywhere) {
    const std::vector<uint64_t> edges = WriteThree();
    const std::string intact = ReadFile(1);
    const SpoolPosition limit = ScanEnd(directory_, identity_);
    const size_t middle = 4;
    for (uint64_t at = edges[middle]; at < edges[middle + 1]; ++at) {
        for (int bit = 0; bit < 8; ++bit) {
            std::string damaged = intact;
            damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
            WriteFile(1, damaged);
            SpoolReader reader(directory_, identity_);
            SpoolRecord record;
            size_t count = 0;
            const std::string sqlstate = Sqlstate([&] {
                for (; reader.Next(limit, record); ++count) {
                }
            });
            ASSERT_EQ(sqlstate, "XX001") << at << " " << bit;
            ASSERT_EQ(count, middle);
            ASSERT_EQ(ScanEnd(directory_, identity_), (SpoolPosition{1, edges[middle]}));
        }
    }
    try {
        ReadAll(limit);
        FAIL();
    } catch (const Error &error) {
        EXPECT_EQ(error.message(), "spool segment \"" + Path(1) + "\" is damaged at offset " +
                                       std::to_string(edges[middle]));
        EXPECT_NE(error.hint(), "");
    }
}

TEST_F(SpoolRecovery, FlippedBitsInAHeaderAreFound) {
    WriteThree();
    const std::string intact = ReadFile(1);
    for (size_t at = 0; at < kSegmentHeaderSize; ++at) {
        std::string damaged = intact;
        damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
        WriteFile(1, damaged);
        ASSERT_EQ(Sqlstate([&] { SpoolWriter writer(Options()); }), "XX001") << at;
        ASSERT_EQ(Sqlstate([&] { ReadAll({1, intact.size()}); }), "XX001") << at;
        ASSERT_EQ(ReadFile(1), damaged);
    }
}

// The tail that looks torn has been confirmed to the source: it would be lost for good.
TEST_F(SpoolRecovery, DoesNotCutWhatTheSourceHasForgotten) {
    const std::vector<uint64_t> edges = WriteThree();
    std::string damaged = ReadFile(1);
    damaged[edges[5] + 5] ^= 1;
    WriteFile(1, damaged);
    SpoolOptions options = Options();
    options.confirmed_flush_lsn = Lsn{120};
    EXPECT_EQ(Sqlstate([&] { SpoolWriter writer(options); }), "XX001");
    EXPECT_EQ(ReadFile(1), damaged);
    options.confirmed_flush_lsn = Lsn{110};
    SpoolWriter writer(options);
    EXPECT_EQ(writer.last_end_lsn(), Lsn{110});
}

TEST_F(SpoolRecovery, DamageBeforeTheNewestSegmentIsAnError) {
    const uint64_t newest = WriteSegments();
    ASSERT_GE(newest, 4U);
    const std::string intact = ReadFile(2);
    std::string flipped = intact;
    flipped[kSegmentHeaderSize + 20] ^= 1;
    SpoolReader walker(directory_, identity_, {2, 0});
    SpoolRecord record;
    ASSERT_TRUE(walker.Next({newest, 0}, record));
    ASSERT_TRUE(walker.Next({newest, 0}, record));
    const std::string whole_record_less = intact.substr(0, record.position.offset);
    for (const std::string &damaged :
         {flipped, intact.substr(0, intact.size() - 1), whole_record_less, intact + 'x',
          intact.substr(0, 10), std::string()}) {
        WriteFile(2, damaged);
        EXPECT_EQ(Sqlstate([&] { SpoolWriter writer(Options()); }), "XX001");
        EXPECT_EQ(Sqlstate([&] { ReadAll(); }), "XX001");
    }
    // The quick start leaves records to the readers, but sees a file of the wrong length.
    SpoolOptions quick = Options();
    quick.verify_all = false;
    WriteFile(2, whole_record_less);
    EXPECT_EQ(Sqlstate([&] { SpoolWriter writer(quick); }), "XX001");
    WriteFile(2, flipped);
    SpoolWriter writer(quick);
    EXPECT_EQ(writer.last_end_lsn(), Lsn{1010});
    EXPECT_EQ(Sqlstate([&] { ReadAll(); }), "XX001");
}

// The receiver's connection breaks while a transaction fills segments.
TEST_F(SpoolRecovery, QuickStartKnowsOfEarlierCommits) {
    segment_size_ = 1000;
    {
        SpoolWriter writer(Options());
        AppendTransaction(writer, 100, 110);
        writer.Append(Lsn{150}, Begin(200));
        for (int i = 0; i < 20; ++i) {
            writer.Append(Lsn{150}, std::string(500, 'I'));
        }
        writer.Sync();
        ASSERT_GT(writer.written().segment, 3U);
        EXPECT_FALSE(writer.ApplyMakesRoom(Lsn{110}));
    }
    SpoolOptions quick = Options();
    quick.verify_all = false;
    SpoolWriter writer(quick);
    EXPECT_EQ(writer.last_end_lsn(), Lsn{110});
    EXPECT_TRUE(writer.ApplyMakesRoom(Lsn{50}));
    EXPECT_FALSE(writer.ApplyMakesRoom(Lsn{110}));
    writer.Append(Lsn{150}, Begin(200));
    writer.Append(Lsn{150}, Commit(200, 210));
    writer.Sync();
    EXPECT_EQ(writer.synced_end_lsn(), Lsn{210});
}

TEST_F(SpoolRecovery, GapsAreErrors) {
    const uint64_t newest = WriteSegments();
    ASSERT_GE(newest, 4U);
    std::filesystem::rename(Path(2), directory_ + "/aside");
    EXPECT_EQ(Sqlstate([&] { SpoolWriter writer(Options()); }), "XX001");
    EXPECT_EQ(Sqlstate([&] { ReadAll({newest, kSegmentHeaderSize}); }), "XX001");
    EXPECT_EQ(Sqlstate([&] { PruneSpool(directory_, {newest, 0}); }), "XX001");
    EXPECT_EQ(Sqlstate([&] { ReadAll({newest, kSegmentHeaderSize}, {2, 0}); }), "XX001");
    // Files under each other's names.
    std::filesystem::rename(Path(3), Path(2));
    std::filesystem::rename(directory_ + "/aside", Path(3));
    EXPECT_EQ(Sqlstate([&] { SpoolWriter writer(Options()); }), "XX001");
    EXPECT_EQ(Sqlstate([&] { ReadAll({newest, kSegmentHeaderSize}); }), "XX001");
}

// The receiver starts again while apply goes on.
TEST_F(SpoolRecovery, SegmentsMayBePrunedDuringTheScan) {
    segment_size_ = 2 << 20;
    {
        SpoolWriter writer(Options());
        for (uint64_t i = 1; i <= 9; ++i) {
            writer.Append(Lsn{i}, Begin(i * 100));
            writer.Append(Lsn{i}, std::string(1 << 20, 'I'));
            writer.Append(Lsn{i}, Commit(i * 100, i * 100 + 10));
        }
        writer.Sync();
        ASSERT_GE(writer.written().segment, 6U);
    }
    static const char *directory;
    directory = directory_.c_str();
    SpoolOptions options = Options();
    options.check_interrupts = [] { PruneSpool(directory, {4, 0}); };
    SpoolWriter writer(options);
    EXPECT_EQ(writer.last_end_lsn(), Lsn{910});
    EXPECT_FALSE(std::filesystem::exists(Path(3)));
    EXPECT_EQ(writer.bytes_on_disk(), SpoolBytes(directory_));
}

TEST_F(SpoolRecovery, ForeignFilesAreLeftAlone) {
    std::ofstream(directory_ + "/README").put('x');
    std::ofstream(directory_ + "/0000000000000000.spool").put('x'); // no segment has number 0
    WriteThree();
    EXPECT_EQ(ReadAll().size(), 9U);
    EXPECT_EQ(Sqlstate([&] { RemoveSpool(directory_); }), "58030"); // not empty
    EXPECT_TRUE(std::filesystem::exists(directory_ + "/README"));
}

// R12: a clone or an old backup of the target; and a spool of another source or plugin.
TEST_F(SpoolRecovery, AnotherSpoolIsRefused) {
    const SpoolPosition end{1, WriteThree().back()};
    const SpoolIdentity ours = identity_;
    for (int what = 0; what < 3; ++what) {
        identity_ = ours;
        if (what == 0) {
            identity_.token[15] ^= 1;
        } else if (what == 1) {
            identity_.system_identifier += 1;
        } else {
            identity_.plugin = Plugin::kPgoutput;
        }
        EXPECT_EQ(Sqlstate([&] { SpoolWriter writer(Options()); }), "55000");
        EXPECT_EQ(Sqlstate([&] { ReadAll(end); }), "55000");
        EXPECT_EQ(Sqlstate([&] { ScanEnd(directory_, identity_); }), "55000");
    }
    identity_ = ours;
    EXPECT_EQ(ReadAll(end).size(), 9U);
}

TEST_F(SpoolRecovery, AnotherFormatVersionIsRefused) {
    WriteThree();
    std::string file = ReadFile(1);
    file[8] = 3;
    const uint32_t crc = Crc32c(std::string_view(file).substr(0, kSegmentHeaderSize - 4));
    for (int i = 0; i < 4; ++i) {
        file[kSegmentHeaderSize - 4 + static_cast<size_t>(i)] = static_cast<char>(crc >> (8 * i));
    }
    WriteFile(1, file);
    EXPECT_EQ(Sqlstate([&] { SpoolWriter writer(Options()); }), "0A000");
}

TEST_F(SpoolRecovery, TornCreationOfASegmentIsUndone) {
    const uint64_t newest = WriteSegments();
    const std::string header = ReadFile(newest).substr(0, kSegmentHeaderSize);
    for (const std::string &torn :
         {std::string(), std::string(10, '\0'), header.substr(0, kSegmentHeaderSize - 1),
          std::string(kSegmentHeaderSize, '\0')}) {
        WriteFile(newest + 1, torn);
        EXPECT_EQ(ScanEnd(directory_, identity_).segment, newest);
        SpoolWriter writer(Options());
        EXPECT_EQ(writer.last_end_lsn(), Lsn{1010});
        EXPECT_EQ(writer.written().segment, newest);
        EXPECT_FALSE(std::filesystem::exists(Path(newest + 1)));
    }
    // Behind it, the segment before was synced: its tail cannot be torn.
    WriteFile(newest + 1, "");
    std::filesystem::resize_file(Path(newest), std::filesystem::file_size(Path(newest)) - 1);
    EXPECT_EQ(Sqlstate([&] { SpoolWriter writer(Options()); }), "XX001");
}

TEST_F(SpoolRecovery, TornCreationOfTheFirstSegment) {
    WriteFile(1, "");
    EXPECT_EQ(ScanEnd(directory_, identity_), SpoolPosition{});
    SpoolOptions options = Options();
    options.create = false; // the migration has begun
    options.start_lsn = Lsn{50};
    SpoolWriter writer(options);
    EXPECT_EQ(writer.last_end_lsn(), Lsn{50});
}

TEST_F(SpoolRecovery, StartsInsideATransactionAfterPruning) {
    segment_size_ = 150;
    {
        SpoolWriter writer(Options());
        AppendTransaction(writer, 100, 110, 20);
        AppendTransaction(writer, 200, 210, 20);
        writer.Sync();
    }
    SpoolReader walker(directory_, identity_);
    SpoolRecord record;
    const SpoolPosition end = ScanEnd(directory_, identity_);
    while (walker.Next(end, record) && Describe(record) != "C 100 110") {
    }
    ASSERT_GT(PruneSpool(directory_, walker.position()), 0U);
    ASSERT_NE(ReadAll().front().front(), 'B');
    {
        SpoolWriter writer(Options());
        EXPECT_EQ(writer.last_end_lsn(), Lsn{210});
        EXPECT_EQ(writer.truncated_bytes(), 0U);
    }
    SpoolReader reader(directory_, identity_);
    FakeDecoder decoder;
    TransactionReader transactions(reader, decoder, Lsn{110});
    Change change;
    EXPECT_EQ(transactions.Next(end, change), TransactionReader::Step::kBegin);
    EXPECT_EQ(change.commit_lsn, Lsn{200});
}

} // namespace
} // namespace livemigrate
