#include "core/retry_policy.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace livemigrate {
namespace {

using std::chrono::milliseconds;

TEST(RetryPolicy, WhatPassesByItself) {
    for (std::string_view sqlstate :
         {"08000", "08001", "08003", "08004", "08006", "25P03", "25P04", "40001", "40P01", "53000",
          "53200", "53300", "53400", "55006", "55P03", "57P01", "57P02", "57P03", "57P05"}) {
        EXPECT_TRUE(IsTransient(sqlstate)) << sqlstate;
    }
}

TEST(RetryPolicy, WhatNeedsAPerson) {
    for (std::string_view sqlstate : {"08P01", "22021", "22023", "23505", "28000", "28P01", "3D000",
                                      "40002", "42501", "42P01", "53100", "55000", "57014", "57P04",
                                      "58030", "58P01", "72000", "XX000", "XX001", "00000"}) {
        EXPECT_FALSE(IsTransient(sqlstate)) << sqlstate;
    }
}

TEST(RetryPolicy, WhatIsNoSqlstateIsNotTransient) {
    for (std::string_view text : {"", "08", "0800", "080060", "53"}) {
        EXPECT_FALSE(IsTransient(text)) << text;
    }
}

// The shortest, the middle and the longest delay after `attempt`.
void
ExpectDelay(int attempt, int64_t base) {
    const auto range = static_cast<uint64_t>(2 * (base / 5) + 1);
    EXPECT_EQ(RetryDelay(attempt, 0), milliseconds(base - base / 5)) << attempt;
    EXPECT_EQ(RetryDelay(attempt, range / 2), milliseconds(base)) << attempt;
    EXPECT_EQ(RetryDelay(attempt, range - 1), milliseconds(base + base / 5)) << attempt;
}

TEST(RetryPolicy, ErrorsOfRowsAndDefinitionsConcernOneTable) {
    for (const char *code :
         {"23514", "23505", "22021", "22P02", "42703", "42501", "54000", "P0001", "0A000"}) {
        EXPECT_TRUE(ConcernsOneTable(code)) << code;
        EXPECT_FALSE(IsTransient(code)) << code;
    }
    for (const char *code :
         {"08006", "08P01", "53100", "57014", "58030", "XX000", "40001", "23", ""}) {
        EXPECT_FALSE(ConcernsOneTable(code)) << code;
    }
}

TEST(RetryPolicy, DelaysDoubleUpToAMinute) {
    const int64_t bases[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000};
    int attempt = 0;
    for (int64_t base : bases) {
        ExpectDelay(++attempt, base);
    }
}

TEST(RetryPolicy, AnyAttemptNumberGivesADelay) {
    ExpectDelay(0, 1000);
    ExpectDelay(-5, 1000);
    ExpectDelay(std::numeric_limits<int>::min() + 1, 1000);
    ExpectDelay(1000, 60000);
    ExpectDelay(std::numeric_limits<int>::max(), 60000);
}

TEST(RetryPolicy, JitterStaysWithinAFifth) {
    uint64_t random = 1;
    for (int i = 0; i < 10000; ++i) {
        random = random * 6364136223846793005 + 1442695040888963407;
        const milliseconds delay = RetryDelay(7, random);
        EXPECT_GE(delay, milliseconds(48000));
        EXPECT_LE(delay, milliseconds(72000));
    }
}

} // namespace
} // namespace livemigrate
