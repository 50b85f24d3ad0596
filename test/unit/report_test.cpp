#include "core/report.hpp"

#include "core/html_text.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace livemigrate {
namespace {

bool
Has(const std::string &html, const std::string &part) {
    return html.find(part) != std::string::npos;
}

TEST(HtmlTextTest, EscapesWhatMeansSomething) {
    EXPECT_EQ(HtmlText("plain text"), "plain text");
    EXPECT_EQ(HtmlText("<a href=\"x\">'&"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
    EXPECT_EQ(HtmlText("a\nb"), "a\nb");
    EXPECT_EQ(HtmlText(std::string("a\0b\x1b", 4)), "a&#xfffd;b&#xfffd;");
    EXPECT_EQ(HtmlText("\xc3\xa4\xe6\x97\xa5"), "&#xe4;&#x65e5;");
    EXPECT_EQ(HtmlText("\xc2\x85"), "&#xfffd;") << "C1 control";
    EXPECT_EQ(HtmlText("\xe4x"), "\xe4x") << "Latin-1 passes";
    EXPECT_EQ(HtmlText("\xed\xa0\x80").find('<'), std::string::npos);
}

TEST(HtmlTextTest, WritesNumbersThatAnySvgReads) {
    EXPECT_EQ(HtmlNumber(0), "0");
    EXPECT_EQ(HtmlNumber(12.5), "12.50");
    EXPECT_EQ(HtmlNumber(1.05), "1.05");
    EXPECT_EQ(HtmlNumber(-3.25), "-3.25");
    EXPECT_EQ(HtmlNumber(1e300), "1000000000000");
    EXPECT_EQ(HtmlNumber(std::numeric_limits<double>::quiet_NaN()), "0");
}

Chart
OneLine(std::vector<std::pair<double, std::optional<double>>> points) {
    Chart chart;
    chart.title = "A <chart>";
    chart.last_x = 100;
    chart.format = [](double value) { return std::to_string(static_cast<int>(value)); };
    chart.lines = {{"line", "one", std::move(points)}};
    return chart;
}

TEST(ChartTest, DrawsLinesAndScale) {
    const std::string html = RenderChart(OneLine({{0, 0}, {50, 10}, {100, 5}}));
    EXPECT_TRUE(Has(html, "A &lt;chart&gt;")) << html;
    EXPECT_TRUE(Has(html, "<path class=\"line one\" d=\"M0 120")) << html;
    EXPECT_TRUE(Has(html, "class=\"top\">10<")) << html;
    EXPECT_FALSE(Has(html, "legend")) << "one line needs none";
}

TEST(ChartTest, SaysWhenThereIsNothingToDraw) {
    EXPECT_TRUE(Has(RenderChart(OneLine({})), "No samples."));
    EXPECT_TRUE(Has(RenderChart(OneLine({{1, std::nullopt}})), "No samples."));
    EXPECT_TRUE(Has(RenderChart(OneLine({{1, 0}})), "<path class=\"line")) << "zero is a sample";
}

TEST(ChartTest, JoinsTheFewSamplesOfAShortMigration) {
    const std::string html = RenderChart(OneLine({{0, 1}, {25, 2}, {50, 3}, {75, 2}, {100, 1}}));
    const std::string path = html.substr(html.find("class=\"line"));
    EXPECT_EQ(std::count(path.begin(), path.begin() + path.find("/>"), 'M'), 1) << path;
    std::vector<std::pair<double, std::optional<double>>> points = {{90, 1}, {91, 1}};
    for (int i = 0; i < 30; i++) {
        points.insert(points.end() - 2, {i, 1});
    }
    const std::string gap = RenderChart(OneLine(points));
    const std::string two = gap.substr(gap.find("class=\"line"));
    EXPECT_EQ(std::count(two.begin(), two.begin() + two.find("/>"), 'M'), 2) << two;
}

TEST(ChartTest, KeepsPeaksOfManyPoints) {
    std::vector<std::pair<double, std::optional<double>>> points;
    for (int i = 0; i < 100000; i++) {
        points.emplace_back(i / 1000.0, i == 77777 ? 999 : 1);
    }
    const std::string html = RenderChart(OneLine(points));
    EXPECT_TRUE(Has(html, "class=\"top\">999<"));
    EXPECT_LT(html.size(), 20000U);
}

ReportTask
Task(const std::string &name, double start, double end) {
    ReportTask task;
    task.name = name;
    task.kind = "table";
    task.state = "done";
    task.span = ReportSpan{start, end};
    return task;
}

TEST(LanesTest, PutsTasksSideBySideOnlyWhenTheyOverlap) {
    const std::vector<ReportTask> tasks = {Task("a", 0, 10), Task("b", 1, 2), Task("c", 2, 5),
                                           Task("d", 10, 11)};
    EXPECT_EQ(LanesOf(tasks), (std::vector<std::vector<size_t>>{{0, 3}, {1, 2}}));
    EXPECT_TRUE(LanesOf({}).empty());
    ReportTask pending;
    EXPECT_TRUE(LanesOf({pending}).empty());
}

ReportData
Hostile() {
    const std::string evil = "<script>alert(1)</script>";
    ReportData data;
    data.migration = data.message = data.hint = data.started = data.ended = data.made = evil;
    data.state = data.stage = evil;
    data.seconds = 10;
    data.settings = {{evil, evil}};
    data.stages = {{evil, {0, 10}}};
    data.tables = {Task(evil, 0, 5)};
    data.jobs = {Task(evil, 5, 6)};
    data.jobs[0].error = data.jobs[0].kind = data.jobs[0].state = evil;
    data.samples = {{1, 0.5, 10, 20, 30, 40}};
    data.checks = {{evil, evil, evil, evil, evil, evil}};
    data.comparisons = {{evil, evil, evil, false, evil, evil}};
    data.schema_compared = evil;
    data.schema_differences = {{evil, evil, evil}};
    data.conflicts = {{evil, evil, evil, evil, evil, evil}};
    data.skipped = {{evil, evil, evil, evil, evil}};
    data.events = {{evil, evil, evil, evil, evil}};
    return data;
}

TEST(ReportTest, EscapesEverything) {
    const std::string html = RenderReport(Hostile());
    EXPECT_FALSE(Has(html, "<script")) << html;
    EXPECT_TRUE(Has(html, "&lt;script&gt;alert(1)"));
}

TEST(ReportTest, AsksNobodyForAnything) {
    const std::string html = RenderReport(Hostile());
    for (const char *word :
         {"http://", "https://", "url(", "@import", " src=", "<link rel=\"style"}) {
        EXPECT_FALSE(Has(html, word)) << word;
    }
    EXPECT_TRUE(Has(html, "default-src 'none'"));
}

TEST(ReportTest, FoldsLongTablesAndKeepsEveryRow) {
    ReportData data;
    data.seconds = 300;
    for (int i = 0; i < 300; i++) {
        data.tables.push_back(Task("table" + std::to_string(i) + ";", i, i + 1.5));
    }
    const std::string html = RenderReport(data);
    EXPECT_TRUE(Has(html, "<summary>280 more</summary>"));
    for (int i = 0; i < 300; i++) {
        EXPECT_TRUE(Has(html, "table" + std::to_string(i) + ";"));
    }
}

TEST(ReportTest, IsMadeOfAnEmptyMigration) {
    const std::string html = RenderReport(ReportData());
    EXPECT_TRUE(Has(html, "not made"));
    EXPECT_TRUE(Has(html, "</html>"));
}

TEST(ReportTest, NamesTheVerdictOfTheComparison) {
    ReportData data;
    data.comparisons = {{"a", "1", "1", true, "", ""}};
    EXPECT_TRUE(Has(RenderReport(data), "<b>equal</b>"));
    data.comparisons.push_back({"b", "1", "2", false, "", "keys: (id)=(7)"});
    const std::string html = RenderReport(data);
    EXPECT_TRUE(Has(html, "<b>1 difference</b>"));
    EXPECT_TRUE(Has(html, "keys: (id)=(7)"));
    EXPECT_LT(html.find("differs"), html.find(">equal<")) << "differences first";
}

TEST(ReportTest, NamesConflictsAndWhatWasSkipped) {
    ReportData data;
    EXPECT_TRUE(Has(RenderReport(data), "Every change was applied."));
    data.conflicts = {{"now", "s.t", "(id)=(6)", "0/10", "a <duplicate> key", "skipped"}};
    data.skipped = {{"0/10", "somebody", "then", "", "3"}};
    const std::string html = RenderReport(data);
    EXPECT_TRUE(Has(html, "<b>1</b><span>conflict, 1 skipped transaction</span>"));
    EXPECT_TRUE(Has(html, "a &lt;duplicate&gt; key"));
    EXPECT_TRUE(Has(html, "skipped; transaction 0/10"));
    EXPECT_TRUE(Has(html, "not yet"));
    EXPECT_TRUE(Has(html, "asked for by somebody at then"));
}

TEST(ReportTest, NamesDifferencesOfTheSchema) {
    ReportData data;
    EXPECT_TRUE(Has(RenderReport(data), "compare_schema() was not called."));
    data.schema_compared = "noon";
    EXPECT_TRUE(Has(RenderReport(data), "no difference"));
    data.schema_differences = {{"column s.t.<v>", "text", ""}};
    const std::string html = RenderReport(data);
    EXPECT_TRUE(Has(html, "column s.t.&lt;v&gt;"));
    EXPECT_TRUE(Has(html, "not there"));
}

} // namespace
} // namespace livemigrate
