#include "core/operator_text.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace livemigrate {
namespace {

TEST(OperatorTextTest, CountsNouns) {
    EXPECT_EQ(Counted(0, "sequence"), "0 sequences");
    EXPECT_EQ(Counted(1, "sequence"), "1 sequence");
    EXPECT_EQ(Counted(2, "sequence"), "2 sequences");
}

TEST(OperatorTextTest, FormatsDurations) {
    EXPECT_EQ(FormatSeconds(-1), "0 ms");
    EXPECT_EQ(FormatSeconds(0.35), "350 ms");
    EXPECT_EQ(FormatSeconds(12.34), "12.3 s");
    EXPECT_EQ(FormatSeconds(245), "4 min 05 s");
    EXPECT_EQ(FormatSeconds(3600 + 23 * 60 + 59), "1 h 23 min");
    EXPECT_EQ(FormatSeconds(2 * 86400 + 4 * 3600), "2 d 04 h");
    EXPECT_EQ(FormatSeconds(std::numeric_limits<double>::quiet_NaN()), "0 ms");
    EXPECT_FALSE(FormatSeconds(1e300).empty());
}

TEST(OperatorTextTest, FormatsRatesAndCounts) {
    EXPECT_EQ(FormatByteRate(0), "0 bytes/s");
    EXPECT_EQ(FormatByteRate(12.0 * 1024 * 1024), "12 MB/s");
    EXPECT_EQ(FormatByteRate(-5), "0 bytes/s");
    EXPECT_EQ(FormatCount(0), "0");
    EXPECT_EQ(FormatCount(999), "999");
    EXPECT_EQ(FormatCount(1000), "1 000");
    EXPECT_EQ(FormatCount(1234567), "1 234 567");
}

TEST(OperatorTextTest, SaysSomethingInEveryState) {
    for (int stage = 0; stage < kStageCount; stage++) {
        for (int state = 0; state < kStateCount; state++) {
            for (const bool flag : {false, true}) {
                EXPECT_FALSE(
                    DefaultHint(static_cast<Stage>(stage), static_cast<State>(state), flag, flag)
                        .empty());
            }
        }
    }
    EXPECT_NE(DefaultHint(Stage::kStreaming, State::kRunning, false, false).find("set_endpos()"),
              std::string::npos);
    EXPECT_NE(DefaultHint(Stage::kDone, State::kDone, true, false).find("migration_cleanup()"),
              std::string::npos);
}

} // namespace
} // namespace livemigrate
