#include "core/timeline_history.hpp"

#include "core/error.hpp"

#include <gtest/gtest.h>

namespace livemigrate {
namespace {

constexpr char kHistory[] = "1\t0/3000158\tno recovery target specified\n"
                            "\n# a comment\n"
                            "2\t0/50000A0\tbefore 2024-01-01 00:00:00+00\r\n"
                            "  7   16/B374D848";

TEST(TimelineHistoryTest, FindsWhereATimelineWasLeft) {
    EXPECT_EQ(EndOfTimeline(kHistory, 1), Lsn{0x3000158});
    EXPECT_EQ(EndOfTimeline(kHistory, 2), Lsn{0x50000A0});
    EXPECT_EQ(EndOfTimeline(kHistory, 7), Lsn{0x16B374D848});
}

TEST(TimelineHistoryTest, ATimelineBeginsWhereTheLastOneWasLeft) {
    EXPECT_EQ(BeginOfTimeline(kHistory), Lsn{0x16B374D848});
    EXPECT_EQ(BeginOfTimeline(""), Lsn{});
    EXPECT_EQ(BeginOfTimeline("1\t0/3000158\tx\n2\t0/50000A0\n"), Lsn{0x50000A0});
    EXPECT_THROW(BeginOfTimeline("1\t0/3000158\nx\n"), Error);
}

TEST(TimelineHistoryTest, KnowsNothingOfOthers) {
    EXPECT_EQ(EndOfTimeline(kHistory, 3), std::nullopt);
    EXPECT_EQ(EndOfTimeline("", 1), std::nullopt);
    EXPECT_EQ(EndOfTimeline("\n\n# 1 0/1\n", 1), std::nullopt);
}

TEST(TimelineHistoryTest, RefusesWhatIsNoHistory) {
    for (const char *text : {"x\t0/1\n", "1\n", "1\t\n", "1\tno position\n", "4294967296\t0/1\n",
                             "1x\t0/1\n", "-1\t0/1\n"}) {
        EXPECT_THROW(EndOfTimeline(text, 1), Error) << text;
    }
}

} // namespace
} // namespace livemigrate
