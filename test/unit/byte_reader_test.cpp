#include "core/byte_reader.hpp"

#include "core/error.hpp"
#include "data/recording.hpp"

#include <gtest/gtest.h>

namespace livemigrate {
namespace {

using test::ExactCopy;
using test::FromHex;

TEST(ByteReaderTest, ReadsBigEndian) {
    const ExactCopy bytes(FromHex("0102030405060708090a0b0c0d0e0f"));
    ByteReader reader(bytes.view());
    EXPECT_EQ(reader.ReadU8(), 0x01);
    EXPECT_EQ(reader.ReadU16(), 0x0203);
    EXPECT_EQ(reader.ReadU32(), 0x04050607U);
    EXPECT_EQ(reader.offset(), 7U);
    EXPECT_EQ(reader.ReadU64(), 0x08090a0b0c0d0e0fU);
    EXPECT_EQ(reader.remaining(), 0U);
    EXPECT_NO_THROW(reader.ExpectEnd());
}

TEST(ByteReaderTest, ReadsNegativeIntegers) {
    const ExactCopy bytes(FromHex("fffefffffffdfffffffffffffffc"));
    ByteReader reader(bytes.view());
    EXPECT_EQ(reader.ReadI16(), -2);
    EXPECT_EQ(reader.ReadI32(), -3);
    EXPECT_EQ(reader.ReadI64(), -4);
}

TEST(ByteReaderTest, ReadsStringsAndBytes) {
    const ExactCopy bytes(FromHex("6162000061626364"));
    ByteReader reader(bytes.view());
    EXPECT_EQ(reader.ReadCString(), "ab");
    EXPECT_EQ(reader.ReadCString(), "");
    EXPECT_EQ(reader.ReadBytes(0), "");
    EXPECT_EQ(reader.ReadBytes(1), "a");
    EXPECT_EQ(reader.ReadRest(), "bcd");
    EXPECT_EQ(reader.ReadRest(), "");
}

template <typename Read>
void
ExpectTruncated(std::string_view message, size_t skip, Read read) {
    const ExactCopy copy(message);
    ByteReader reader(copy.view());
    reader.ReadBytes(skip);
    try {
        read(reader);
        ADD_FAILURE() << "read beyond " << message.size() << " bytes";
    } catch (const Error &error) {
        EXPECT_EQ(error.sqlstate(), sqlstate::kProtocolViolation);
        EXPECT_EQ(error.message(), "replication message is truncated");
        EXPECT_NE(error.detail().find("offset " + std::to_string(skip)), std::string::npos);
    }
    EXPECT_EQ(reader.offset(), skip); // stays where it was
}

TEST(ByteReaderTest, RefusesToReadBeyondTheEnd) {
    for (const size_t skip : {0U, 1U, 5U}) {
        for (const size_t size : {0U, 1U, 2U, 3U, 7U}) {
            const std::string message(skip + size, 'x');
            if (size < 1) {
                ExpectTruncated(message, skip, [](ByteReader &r) { r.ReadU8(); });
            }
            if (size < 2) {
                ExpectTruncated(message, skip, [](ByteReader &r) { r.ReadU16(); });
            }
            if (size < 4) {
                ExpectTruncated(message, skip, [](ByteReader &r) { r.ReadU32(); });
            }
            ExpectTruncated(message, skip, [](ByteReader &r) { r.ReadU64(); });
            ExpectTruncated(message, skip, [&](ByteReader &r) { r.ReadBytes(size + 1); });
            ExpectTruncated(message, skip, [](ByteReader &r) { r.ReadBytes(SIZE_MAX); });
            ExpectTruncated(message, skip, [](ByteReader &r) { r.ReadCString(); });
        }
    }
}

TEST(ByteReaderTest, NegativeLengthIsTruncated) {
    const std::string message = FromHex("ffffffff0000");
    ExpectTruncated(message, 4, [](ByteReader &r) { r.ReadBytes(static_cast<uint32_t>(-1)); });
}

TEST(ByteReaderTest, RefusesTrailingBytes) {
    ByteReader reader("ab");
    reader.ReadU8();
    EXPECT_THROW(reader.ExpectEnd(), Error);
}

TEST(ByteReaderTest, DefaultViewIsEmpty) {
    ByteReader reader{std::string_view()};
    EXPECT_EQ(reader.ReadRest(), "");
    EXPECT_THROW(reader.ReadCString(), Error);
    EXPECT_THROW(reader.ReadU8(), Error);
}

TEST(ByteReaderTest, ShowsFirstBytes) {
    EXPECT_EQ(FirstBytes("", 4), "");
    EXPECT_EQ(FirstBytes(FromHex("00ff"), 4), "00 ff");
    EXPECT_EQ(FirstBytes("abcdef", 2), "61 62");
}

} // namespace
} // namespace livemigrate
