// Compressed groups of records: alone, and in a spool.
#include "spool_fixture.hpp"

#include "core/spool_block.hpp"

#include <random>
#include <sys/stat.h>

namespace livemigrate {
namespace {

std::string
Record(RecordKind kind, uint64_t lsn, std::string_view payload) {
    std::string record(kRecordHeaderSize, '\0');
    EncodeUnsealedHeader(kind, Lsn{lsn}, payload.size(), record.data());
    return record.append(payload);
}

std::string
Noise(size_t size, uint32_t seed) {
    std::mt19937 random(seed);
    std::string noise(size, '\0');
    for (char &byte : noise) {
        byte = static_cast<char>(random());
    }
    return noise;
}

// LZ4's form of bytes without any repetition: a token, the length beyond 15, the bytes.
std::string
Literals(std::string_view bytes) {
    std::string block;
    for (int i = 0; i < 4; ++i) {
        block += static_cast<char>(bytes.size() >> 8 * i & 0xff);
    }
    block += static_cast<char>(std::min<size_t>(bytes.size(), 15) << 4);
    if (bytes.size() >= 15) {
        size_t more = bytes.size() - 15;
        for (; more >= 255; more -= 255) {
            block += '\xff';
        }
        block += static_cast<char>(more);
    }
    return block.append(bytes);
}

TEST(SpoolBlock, GivesBackItsRecords) {
    std::string records;
    std::vector<std::string> expected;
    for (uint64_t i = 0; i < 100; ++i) {
        expected.push_back(Record(RecordKind::kMessage, i, "row " + std::to_string(i)));
        records += expected.back();
    }
    BlockCompressor compressor;
    const std::string_view block = compressor.Compress(records);
    ASSERT_FALSE(block.empty());
    EXPECT_LT(block.size(), records.size() / 2);
    BlockReader reader;
    ASSERT_TRUE(reader.Open(block));
    for (const std::string &record : expected) {
        ASSERT_FALSE(reader.at_end());
        EXPECT_EQ(reader.Next(), record);
    }
    EXPECT_TRUE(reader.at_end());
}

TEST(SpoolBlock, OnlyWhereItPays) {
    BlockCompressor compressor;
    EXPECT_TRUE(compressor.Compress("").empty());
    EXPECT_TRUE(compressor.Compress(std::string(kMinBlockSize - 1, 'a')).empty());
    EXPECT_FALSE(compressor.Compress(std::string(kMinBlockSize, 'a')).empty());
    EXPECT_TRUE(compressor.Compress(Noise(100'000, 1)).empty());
    EXPECT_TRUE(compressor.Compress(std::string(kMaxBlockSize + 1, 'a')).empty());
    EXPECT_FALSE(compressor.Compress(std::string(kMaxBlockSize, 'a')).empty());
}

TEST(SpoolBlock, MalformedOnesAreRefused) {
    const std::string row = Record(RecordKind::kMessage, 1, "row");
    BlockReader reader;
    EXPECT_TRUE(reader.Open(Literals(row + row)));
    EXPECT_TRUE(reader.Open(Literals(Record(RecordKind::kReset, 1, ""))));

    std::string too_long = row;
    ++too_long[4];
    const std::vector<std::pair<const char *, std::string>> malformed = {
        {"nothing", ""},
        {"no size", "\1"},
        {"no records", Literals("")},
        {"half a header", Literals(row.substr(0, 10))},
        {"half a payload", Literals(row.substr(0, row.size() - 1))},
        {"something behind", Literals(row + "x")},
        {"length beyond the end", Literals(too_long)},
        {"unknown kind", Literals(Record(static_cast<RecordKind>(9), 1, ""))},
        {"position with a payload", Literals(Record(RecordKind::kPosition, 1, "x"))},
        {"block in a block", Literals(Record(RecordKind::kBlock, 1, Literals(row)))},
        {"no LZ4", std::string("\x20\0\0\0", 4) + Noise(30, 2)},
        {"size beyond the limit", std::string("\xff\xff\xff\x7f", 4) + "\x10x"},
    };
    for (const auto &[what, payload] : malformed) {
        EXPECT_FALSE(reader.Open(payload)) << what;
        EXPECT_TRUE(reader.at_end()) << what;
    }
    std::string other_size = Literals(row);
    for (int change : {-1, 1}) {
        other_size[0] = static_cast<char>(static_cast<int>(row.size()) + change);
        EXPECT_FALSE(reader.Open(other_size));
    }
}

TEST(SpoolBlock, MemoryOfALongOneIsGivenBack) {
    BlockCompressor compressor;
    BlockReader reader;
    const std::string payload(3 << 20, 'a');
    ASSERT_TRUE(reader.Open(compressor.Compress(Record(RecordKind::kMessage, 1, payload))));
    EXPECT_GT(reader.capacity(), payload.size());
    ASSERT_TRUE(reader.Open(Literals(Record(RecordKind::kReset, 1, ""))));
    EXPECT_LE(reader.capacity(), 256U << 10);
}

class CompressedSpool : public SpoolFixture {
  protected:
    CompressedSpool() { compress_ = true; }

    // What comes in as a stream, in transactions of all sizes, and what should be read.
    std::vector<std::string>
    AppendMany(SpoolWriter &writer, uint64_t first, uint64_t last) {
        std::vector<std::string> expected;
        for (uint64_t i = first; i <= last; ++i) {
            std::vector<std::string> payloads{Begin(i * 100)};
            for (uint64_t row = 0; row < i % 40; ++row) {
                payloads.push_back("I row " + std::to_string(row) +
                                   (row % 7 == 0 ? Noise(300, static_cast<uint32_t>(row)) : ""));
            }
            payloads.push_back(Commit(i * 100, i * 100 + 10));
            for (const std::string &payload : payloads) {
                writer.Append(Lsn{i}, payload);
                expected.push_back(payload);
            }
            if (i % 5 == 0) {
                writer.Flush();
            }
        }
        return expected;
    }
};

TEST_F(CompressedSpool, IsReadAsItWasWritten) {
    for (uint64_t segment_size : {200, 5000, 64 << 20}) {
        segment_size_ = segment_size;
        std::filesystem::remove_all(directory_);
        std::filesystem::create_directory(directory_);
        ::chmod(directory_.c_str(), 0700);
        SpoolWriter writer(Options());
        const std::vector<std::string> expected = AppendMany(writer, 1, 300);
        EXPECT_EQ(writer.Sync(), Lsn{30'010});
        EXPECT_EQ(ReadAll(writer.written()), expected);
        EXPECT_EQ(ReadAll(), expected);
        EXPECT_EQ(writer.bytes_on_disk(), SpoolBytes(directory_));
    }
}

TEST_F(CompressedSpool, IsSmaller) {
    SpoolWriter writer(Options());
    AppendTransaction(writer, 100, 110, 10'000);
    const uint64_t gathered = writer.size();
    writer.Sync();
    EXPECT_LT(writer.bytes_on_disk(), gathered);
    EXPECT_LT(writer.bytes_on_disk(), 60'000U); // 250 kB of them
}

// Readers follow the writer at every flush, however little there is.
TEST_F(CompressedSpool, IsFollowedFlushByFlush) {
    SpoolWriter writer(Options());
    SpoolReader reader(directory_, identity_);
    SpoolRecord record;
    for (uint64_t i = 1; i <= 200; ++i) {
        AppendTransaction(writer, i * 100, i * 100 + 10, static_cast<int>(i));
        writer.Flush();
        uint64_t records = 0;
        while (reader.Next(writer.written(), record)) {
            ++records;
        }
        ASSERT_EQ(records, i + 2);
        ASSERT_EQ(reader.position(), writer.written());
    }
}

TEST_F(CompressedSpool, LongRecords) {
    SpoolWriter writer(Options());
    std::vector<std::string> expected{Begin(100)};
    for (size_t size : {300'000, 3 << 20, 5 << 20}) {
        expected.push_back("I " + std::string(size, 'x'));
        expected.push_back("I " + Noise(size, 3));
    }
    expected.push_back(Commit(100, 110));
    for (const std::string &payload : expected) {
        writer.Append(Lsn{1}, payload);
    }
    writer.Sync();
    EXPECT_EQ(ReadAll(), expected);
    EXPECT_LT(SpoolBytes(directory_), 15U << 20);
}

// Reading again from a position inside a block gives the whole block again.
TEST_F(CompressedSpool, PositionsAreThoseOfBlocks) {
    SpoolWriter writer(Options());
    AppendTransaction(writer, 100, 110, 100);
    writer.Sync();
    SpoolReader reader(directory_, identity_);
    SpoolRecord record;
    ASSERT_TRUE(reader.Next(writer.written(), record));
    EXPECT_EQ(reader.position().offset, kSegmentHeaderSize);
    EXPECT_EQ(record.position, (SpoolPosition{1, kSegmentHeaderSize}));
    EXPECT_EQ(ReadAll(writer.written(), reader.position()).size(), 102U);
}

TEST_F(CompressedSpool, IsSwitchedOnAndOffWithTheNextSegment) {
    segment_size_ = 4000;
    std::vector<std::string> expected;
    uint64_t i = 1;
    for (bool compress : {false, true, false, true, true}) {
        compress_ = compress;
        SpoolWriter writer(Options());
        for (const std::string &payload : AppendMany(writer, i, i + 59)) {
            expected.push_back(payload);
        }
        i += 60;
        writer.set_compress(!compress);
        for (const std::string &payload : AppendMany(writer, i, i + 59)) {
            expected.push_back(payload);
        }
        i += 60;
        writer.Sync();
    }
    EXPECT_EQ(ReadAll(), expected);
}

// A spool that was never compressed can be read by releases that know no blocks.
TEST_F(CompressedSpool, VersionTellsOfBlocks) {
    for (bool compress : {false, true}) {
        SegmentHeader header{.identity = identity_, .segment = 1, .blocks = compress};
        const SegmentHeaderBytes bytes = EncodeSegmentHeader(header);
        EXPECT_EQ(bytes[8], compress ? 2 : 1);
        header.blocks = !compress;
        EXPECT_EQ(DecodeSegmentHeader(bytes, header), HeaderState::kValid);
        EXPECT_EQ(header.blocks, compress);
    }
}

TEST_F(CompressedSpool, BlockInASegmentWithoutBlocksIsDamage) {
    const SegmentHeaderBytes header =
        EncodeSegmentHeader({.identity = identity_, .segment = 1, .blocks = false});
    const std::string block = Literals(Record(RecordKind::kMessage, 1, "M x"));
    std::string record(kRecordHeaderSize, '\0');
    EncodeRecordHeader(RecordSeed(header), kSegmentHeaderSize, RecordKind::kBlock, Lsn{1}, block,
                       record.data());
    WriteFile(1, std::string(header.data(), header.size()) + record + block);
    EXPECT_EQ(ScanEnd(directory_, identity_), (SpoolPosition{1, kSegmentHeaderSize}));
}

// Wherever a crash cuts the file, what is left are whole blocks.
TEST_F(CompressedSpool, TornTailIsCutOff) {
    std::string whole;
    {
        SpoolWriter writer(Options());
        for (uint64_t i = 1; i <= 3; ++i) {
            AppendTransaction(writer, i * 100, i * 100 + 10, 60);
            writer.Sync();
        }
        whole = ReadFile(1);
    }
    size_t last = 0;
    for (size_t size = kSegmentHeaderSize; size <= whole.size(); size += 3) {
        WriteFile(1, std::string_view(whole).substr(0, size));
        SpoolWriter writer(Options());
        const std::vector<std::string> records = ReadAll(writer.written());
        ASSERT_EQ(records.size() % 62, 0U);
        ASSERT_GE(records.size(), last);
        last = records.size();
    }
    EXPECT_GE(last, 2 * 62U);
}

TEST_F(CompressedSpool, EveryDamagedByteIsNoticed) {
    {
        SpoolWriter writer(Options());
        AppendTransaction(writer, 100, 110, 100);
        writer.Sync();
    }
    const std::string whole = ReadFile(1);
    for (size_t at = kSegmentHeaderSize; at < whole.size(); ++at) {
        std::string damaged = whole;
        damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
        WriteFile(1, damaged);
        ASSERT_EQ(Sqlstate([&] { ReadAll({1, whole.size()}); }), "XX001") << at;
    }
}

} // namespace
} // namespace livemigrate
