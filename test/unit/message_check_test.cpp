// What the receiver refuses before it keeps it.
#include "core/message_check.hpp"

#include <gtest/gtest.h>

namespace livemigrate {
namespace {

std::string
Bytes(std::string_view text) {
    return std::string(text);
}

void
ExpectRefused(Plugin plugin, std::string_view payload, bool in_chunk = false) {
    try {
        CheckMessage(plugin, payload, in_chunk);
        ADD_FAILURE() << "accepted " << payload;
    } catch (const Error &error) {
        EXPECT_EQ(error.sqlstate(), sqlstate::kProtocolViolation);
    }
}

using namespace std::string_view_literals;

constexpr std::string_view kInsert = "I\0\0\0\7N\0\2t\0\0\0\1au"sv;
constexpr std::string_view kUpdate = "U\0\0\0\7K\0\1nN\0\1t\0\0\0\2ab"sv;
constexpr std::string_view kDelete = "D\0\0\0\7O\0\2b\0\0\0\0n"sv;
constexpr std::string_view kRelation = "R\0\0\0\7s\0t\0d\0\1\1a\0\0\0\0\x17\xff\xff\xff\xff"sv;
constexpr std::string_view kTruncate = "T\0\0\0\2\1\0\0\0\7\0\0\0\x8"sv;

TEST(MessageCheck, LetsRowsThrough) {
    for (const std::string_view row : {kInsert, kUpdate, kDelete, kTruncate, kRelation}) {
        EXPECT_NO_THROW(CheckMessage(Plugin::kPgoutput, row, false));
        const std::string in_chunk = Bytes(row).insert(1, "\0\0\2\1"sv);
        EXPECT_NO_THROW(CheckMessage(Plugin::kPgoutput, in_chunk, true));
    }
}

TEST(MessageCheck, RefusesAnyRowCutOrProlonged) {
    for (const std::string_view row : {kInsert, kUpdate, kDelete, kTruncate, kRelation}) {
        for (size_t length = 0; length < row.size(); length++) {
            ExpectRefused(Plugin::kPgoutput, row.substr(0, length));
        }
        ExpectRefused(Plugin::kPgoutput, Bytes(row) + std::string(1, 0));
    }
    ExpectRefused(Plugin::kPgoutput, kInsert, true);
}

TEST(MessageCheck, RefusesUnknownKinds) {
    ExpectRefused(Plugin::kPgoutput, "Z"sv);
    ExpectRefused(Plugin::kPgoutput, "I\0\0\0\7N\0\1z"sv);
    ExpectRefused(Plugin::kPgoutput, "I\0\0\0\7K\0\0"sv);
    ExpectRefused(Plugin::kPgoutput, "D\0\0\0\7N\0\0"sv);
}

TEST(MessageCheck, LeavesOthersToTheirReaders) {
    for (const std::string_view payload : {"B"sv, "C"sv, "O"sv, "Y"sv, "M"sv, "S"sv, "c"sv}) {
        EXPECT_NO_THROW(CheckMessage(Plugin::kPgoutput, payload, false));
    }
}

TEST(MessageCheck, Wal2json) {
    for (const std::string_view payload :
         {R"({"action":"I","schema":"s"})"sv, R"({"action":"B"} )"sv, R"({"action":"M"})"sv}) {
        EXPECT_NO_THROW(CheckMessage(Plugin::kWal2json, payload, false));
    }
    for (const std::string_view payload :
         {R"({"action":"Z"})"sv, R"({"action":"I","schema":"s")"sv, R"({"kind":"I"})"sv, ""sv}) {
        ExpectRefused(Plugin::kWal2json, payload);
    }
}

TEST(MessageCheck, NamesTheMessageWithoutItsValues) {
    const Error error = WithMessage(Error(sqlstate::kProtocolViolation, "m").Detail("Why."),
                                    Plugin::kPgoutput, Lsn{0x10}, kInsert);
    EXPECT_EQ(error.detail(), "Why. The pgoutput message at 0/10 has 15 bytes and begins with "
                              "49 00 00 00 07 4e 00 02.");
    const Error json = WithMessage(Error(sqlstate::kProtocolViolation, "m"), Plugin::kWal2json,
                                   Lsn{0x10}, R"({"action":"I","schema":"secret"})");
    EXPECT_EQ(json.detail(), "The wal2json message at 0/10 has 32 bytes and begins with "
                             "7b 22 61 63 74 69 6f 6e 22 3a 22 49 22.");
}

} // namespace
} // namespace livemigrate
