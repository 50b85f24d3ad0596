#include "core/dashboard.hpp"
#include "core/screen_text.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace livemigrate {
namespace {

TEST(ScreenTextTest, FitsColumns) {
    EXPECT_EQ(FitColumns("abc", 5, false), "abc  ");
    EXPECT_EQ(FitColumns("abcdef", 5, false), "abcd~");
    EXPECT_EQ(FitColumns("abcde", 5, false), "abcde");
    EXPECT_EQ(FitColumns("", 3, false), "   ");
    EXPECT_EQ(FitColumns("abc", 0, false), "");
    EXPECT_EQ(CutColumns("abc", 5, false), "abc");
}

TEST(ScreenTextTest, CountsCharactersNotBytes) {
    EXPECT_EQ(ColumnWidth("äöü"), 3U);
    EXPECT_EQ(ColumnWidth("日本"), 4U);
    EXPECT_EQ(FitColumns("äöü", 5, false), "äöü  ");
    EXPECT_EQ(FitColumns("日本語", 5, false), "日本~");
    EXPECT_EQ(FitColumns("日本語", 4, false), "日~ ");
}

TEST(ScreenTextTest, ShowsNothingThatMovesTheCursor) {
    EXPECT_EQ(CutColumns("a\nb\tc\x1b[2J", 20, false), "a?b?c?[2J");
    EXPECT_EQ(CutColumns("\xc2\x9b", 20, false), "?") << "C1 control";
    EXPECT_EQ(CutColumns("a\xe2\x80\xae"
                         "b",
                         20, false),
              "a?b")
        << "right-to-left override";
    EXPECT_EQ(CutColumns("a\xff\xe4", 20, false), "a??") << "malformed";
    EXPECT_EQ(CutColumns("\xe6\x97", 20, false), "??") << "cut off";
    EXPECT_EQ(CutColumns("aä日", 20, true), "a??");
}

TEST(ScreenTextTest, DrawsBars) {
    EXPECT_EQ(ProgressBar(0, 12, true), "[----------]");
    EXPECT_EQ(ProgressBar(0.5, 12, true), "[#####-----]");
    EXPECT_EQ(ProgressBar(0.999, 12, true), "[#########-]");
    EXPECT_EQ(ProgressBar(1, 12, true), "[##########]");
    EXPECT_EQ(ProgressBar(7, 4, true), "[##]");
    EXPECT_EQ(ProgressBar(-1, 4, true), "[--]");
    EXPECT_EQ(ColumnWidth(ProgressBar(0.3, 12, false)), 12U);
}

DashboardData
Busy() {
    DashboardData data;
    data.migration = std::string(63, 'm');
    data.stage = Stage::kData;
    data.message = std::string(500, 'x');
    data.hint = "do\nthis";
    data.plugin = "pgoutput";
    data.seconds = 1e7;
    data.tables_total = 1000000;
    data.tables_done = 999999;
    data.bytes_total = data.bytes_done = 1ULL << 60;
    data.bytes_done -= 1;
    data.indexes_total = 2000000;
    data.transactions = data.changes = 1ULL << 62;
    data.conflicts = 12345;
    data.replay_lag = data.eta = 1e9;
    data.lag_bytes = data.spool_bytes = 1ULL << 60;
    data.copy_rate = data.change_rate = data.apply_rate = data.source_rate = 1e12;
    for (int i = 0; i < 10; i++) {
        data.tasks.push_back({std::string(130, 'T'), 0.5, 1e6, "part 1023/1024"});
        data.events.push_back({"12:00:00", "warning", std::string(300, 'e')});
    }
    return data;
}

TEST(DashboardTest, FitsTheTerminalWhateverHappens) {
    for (const bool ascii : {false, true}) {
        for (int stage = 0; stage < kStageCount; stage++) {
            DashboardData data = Busy();
            data.stage = static_cast<Stage>(stage);
            const std::vector<std::string> lines = RenderDashboard(data, ascii);
            EXPECT_LE(lines.size(), kDashboardLines);
            for (const std::string &line : lines) {
                EXPECT_LE(ColumnWidth(line), kDashboardColumns) << line;
                EXPECT_EQ(line.find('\n'), std::string::npos);
            }
        }
        EXPECT_LE(RenderDashboard(DashboardData(), ascii).size(), kDashboardLines);
    }
}

TEST(DashboardTest, IsPlainAsciiOnRequest) {
    DashboardData data = Busy();
    data.tasks[0].name = "größe";
    for (const std::string &line : RenderDashboard(data, true)) {
        EXPECT_TRUE(std::all_of(line.begin(), line.end(), [](char byte) {
            return byte >= ' ' && byte <= '~';
        })) << line;
    }
}

TEST(DashboardTest, ShowsStageProgressAndEvents) {
    DashboardData data;
    data.migration = "shop";
    data.stage = Stage::kIndexes;
    data.message = "building";
    data.hint = "Wait.";
    data.tables_total = data.tables_done = 3;
    data.bytes_total = 100;
    data.bytes_done = 60; // an estimate, and the stage is over
    data.indexes_total = 4;
    data.indexes_done = 1;
    data.tasks.push_back({"public.t_pkey", std::nullopt, 2.5, "index"});
    data.events = {
        {"1", "info", "one"}, {"2", "info", "two"}, {"3", "info", "three"}, {"4", "info", "four"}};
    std::string screen;
    for (const std::string &line : RenderDashboard(data, true)) {
        screen += line + '\n';
    }
    EXPECT_NE(screen.find("shop  indexes, running"), std::string::npos) << screen;
    EXPECT_NE(screen.find("+data >indexes  catchup"), std::string::npos) << screen;
    EXPECT_NE(screen.find("100 %  3/3 tables"), std::string::npos) << screen;
    EXPECT_NE(screen.find("25 %  1/4 statements"), std::string::npos) << screen;
    EXPECT_NE(screen.find("public.t_pkey"), std::string::npos) << screen;
    EXPECT_EQ(screen.find("one\n"), std::string::npos) << screen;
    EXPECT_NE(screen.find("four\n"), std::string::npos) << screen;
}

} // namespace
} // namespace livemigrate
