#include "core/replication_message.hpp"

#include "core/error.hpp"
#include "data/recording.hpp"

#include <gtest/gtest.h>

namespace livemigrate {
namespace {

using test::ExactCopy;
using test::FromHex;

// 'w', start 0/1561150, end 0/1561150, a time, "payload".
const char kXLogData[] = "77000000000156115000000000015611500002a1b2c3d4e5f67061796c6f6164";
// 'k', end 16/B374D848, a time, reply requested.
const char kKeepalive[] = "6b00000016b374d8480002a1b2c3d4e5f601";

TEST(ReplicationMessageTest, ParsesXLogData) {
    const std::string message = FromHex(kXLogData);
    const auto data = std::get<XLogData>(ParseReplicationMessage(message));
    EXPECT_EQ(data.start_lsn.ToString(), "0/1561150");
    EXPECT_EQ(data.end_lsn.ToString(), "0/1561150");
    EXPECT_EQ(data.send_time, 0x0002a1b2c3d4e5f6);
    EXPECT_EQ(data.payload, "payload");
    EXPECT_EQ(data.payload.data(), message.data() + 25); // a view, not a copy
}

TEST(ReplicationMessageTest, ParsesEmptyPayload) {
    const std::string message = FromHex(kXLogData).substr(0, 25);
    EXPECT_EQ(std::get<XLogData>(ParseReplicationMessage(message)).payload, "");
}

TEST(ReplicationMessageTest, ParsesKeepalive) {
    std::string message = FromHex(kKeepalive);
    auto keepalive = std::get<Keepalive>(ParseReplicationMessage(message));
    EXPECT_EQ(keepalive.end_lsn.ToString(), "16/B374D848");
    EXPECT_EQ(keepalive.send_time, 0x0002a1b2c3d4e5f6);
    EXPECT_TRUE(keepalive.reply_requested);
    message.back() = '\0';
    keepalive = std::get<Keepalive>(ParseReplicationMessage(message));
    EXPECT_FALSE(keepalive.reply_requested);
}

void
ExpectProtocolViolation(std::string_view message) {
    const ExactCopy copy(message);
    try {
        ParseReplicationMessage(copy.view());
        ADD_FAILURE() << "accepted a message of " << message.size() << " bytes";
    } catch (const Error &error) {
        EXPECT_EQ(error.sqlstate(), sqlstate::kProtocolViolation);
    }
}

// D21
TEST(ReplicationMessageTest, RefusesTruncatedMessages) {
    for (size_t size = 0; size < 25; size++) {
        ExpectProtocolViolation(FromHex(kXLogData).substr(0, size));
    }
    for (size_t size = 0; size < 18; size++) {
        ExpectProtocolViolation(FromHex(kKeepalive).substr(0, size));
    }
}

TEST(ReplicationMessageTest, RefusesOverlongKeepalive) {
    ExpectProtocolViolation(FromHex(kKeepalive) + "x");
}

// D20
TEST(ReplicationMessageTest, RefusesEveryOtherType) {
    for (int type = 0; type < 256; type++) {
        if (type != 'w' && type != 'k') {
            ExpectProtocolViolation(std::string(1, static_cast<char>(type)) + std::string(40, 'x'));
        }
    }
}

TEST(ReplicationMessageTest, BuildsStandbyStatus) {
    StandbyStatus status;
    status.written = Lsn{0x16B374D848};
    status.flushed = Lsn{0x16B374D000};
    status.applied = Lsn{1};
    status.client_time = -2;
    status.reply_requested = true;
    std::string message = "left from before, and longer than what comes now";
    const char *const buffer = message.data();
    BuildStandbyStatus(status, message);
    EXPECT_EQ(message, FromHex("7200000016b374d84800000016b374d0000000000000000001"
                               "fffffffffffffffe01"));
    EXPECT_EQ(message.data(), buffer);
    status.reply_requested = false;
    BuildStandbyStatus(status, message);
    EXPECT_EQ(message.size(), 34U);
    EXPECT_EQ(message.back(), '\0');
}

} // namespace
} // namespace livemigrate
