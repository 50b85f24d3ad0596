#include "core/crc32c.hpp"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace livemigrate {
namespace {

std::string
Bytes(size_t count, int first, int step) {
    std::string bytes;
    for (size_t i = 0; i < count; ++i) {
        bytes += static_cast<char>(first + static_cast<int>(i) * step);
    }
    return bytes;
}

// RFC 3720 (iSCSI), B.4, and the check value of the catalogue of CRCs.
TEST(Crc32c, KnownVectors) {
    EXPECT_EQ(Crc32c(""), 0U);
    EXPECT_EQ(Crc32c("123456789"), 0xe3069283U);
    EXPECT_EQ(Crc32c(Bytes(32, 0x00, 0)), 0x8a9136aaU);
    EXPECT_EQ(Crc32c(Bytes(32, 0xff, 0)), 0x62a8ab43U);
    EXPECT_EQ(Crc32c(Bytes(32, 0x00, 1)), 0x46dd794eU);
    EXPECT_EQ(Crc32c(Bytes(32, 0x1f, -1)), 0x113fdb5cU);

    std::string command(48, '\0'); // an iSCSI SCSI Read (10) command
    const std::array<std::pair<size_t, int>, 9> set{{{0, 0x01},
                                                     {1, 0xc0},
                                                     {16, 0x14},
                                                     {22, 0x04},
                                                     {27, 0x14},
                                                     {31, 0x18},
                                                     {32, 0x28},
                                                     {40, 0x02},
                                                     {47, 0x00}}};
    for (const auto &[at, value] : set) {
        command[at] = static_cast<char>(value);
    }
    EXPECT_EQ(Crc32c(command), 0xd9963a56U);
}

TEST(Crc32c, TablesAgreeWithTheInstruction) {
    const std::string bytes = Bytes(400, 7, 31);
    for (size_t start = 0; start < 16; ++start) {
        for (size_t length = 0; length < 300; ++length) {
            const std::string_view part = std::string_view(bytes).substr(start, length);
            ASSERT_EQ(ExtendCrc32cPortable(0, part), Crc32c(part)) << start << " " << length;
        }
    }
}

TEST(Crc32c, ExtendsWhatItHas) {
    const std::string bytes = Bytes(100, 3, 17);
    const std::string_view all = bytes;
    for (size_t cut = 0; cut <= all.size(); ++cut) {
        ASSERT_EQ(ExtendCrc32c(Crc32c(all.substr(0, cut)), all.substr(cut)), Crc32c(all));
        ASSERT_EQ(ExtendCrc32cPortable(Crc32c(all.substr(0, cut)), all.substr(cut)), Crc32c(all));
    }
}

} // namespace
} // namespace livemigrate
