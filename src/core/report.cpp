#include "core/report.hpp"

#include "core/html_text.hpp"
#include "core/operator_text.hpp"
#include "core/report_style.hpp"
#include "core/sql_text.hpp"

#include <algorithm>
#include <numeric>

namespace livemigrate {

namespace {

constexpr size_t kShownRows = 20;

double
Seconds(const ReportTask &task) {
    return task.span ? std::max(0.0, task.span->end - task.span->start) : 0;
}

const char *
SeverityClass(const std::string &severity) {
    if (severity == "error" || severity == "failed" || severity == "aborted") {
        return "bad";
    }
    if (severity == "warning" || severity == "paused" || severity == "retrying") {
        return "warn";
    }
    return severity == "ok" || severity == "done" ? "good" : "soft";
}

std::string
Badge(const std::string &word) {
    return "<span class=\"" + std::string(SeverityClass(word)) + "\">" + HtmlText(word) + "</span>";
}

std::string
Cell(const char *css_class, const std::string &html) {
    return "<td class=\"" + std::string(css_class) + "\">" + html + "</td>";
}

class Page {
  public:
    explicit Page(const ReportData &data) : data_(data) {}

    std::string
    Render() {
        Head();
        Summary();
        Timeline();
        Charts();
        Tables();
        Jobs();
        Comparison();
        Schema();
        Conflicts();
        Checks();
        Settings();
        Events();
        html_ += "</main></body></html>\n";
        return std::move(html_);
    }

  private:
    void
    Head() {
        html_ += "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                 "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
                 "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                 "style-src 'unsafe-inline'; img-src data:\"><link rel=\"icon\" href=\"data:,\">"
                 "<title>Migration " +
                 HtmlText(data_.migration) + "</title><style>" + kReportStyle +
                 "</style></head><body><main>\n";
    }

    void
    Section(const char *id, const std::string &title) {
        html_ += "<h2 id=\"" + std::string(id) + "\">" + title + "</h2>\n";
    }

    void
    Tile(const std::string &value, const std::string &label) {
        html_ += "<div class=\"tile\"><b>" + HtmlText(value) + "</b><span>" + HtmlText(label) +
                 "</span></div>";
    }

    void
    Summary() {
        html_ += "<h1>Migration " + HtmlText(data_.migration) + " <span class=\"state " +
                 SeverityClass(data_.state) + "\">" + HtmlText(data_.state) + "</span></h1>\n";
        html_ += "<p class=\"soft\">" + HtmlText(data_.started) + " to " + HtmlText(data_.ended) +
                 ", stage " + HtmlText(data_.stage) + ". Report of " + HtmlText(data_.made) +
                 ".</p>\n<p>" + HtmlText(data_.message) + "</p>\n";
        if (!data_.hint.empty()) {
            html_ += "<p>Next: <code>" + HtmlText(data_.hint) + "</code></p>\n";
        }
        html_ += "<div class=\"tiles\">";
        Tile(FormatSeconds(data_.seconds), "from start to end");
        Tile(FormatSeconds(CutoverSeconds()), "stage cutover");
        Tile(FormatCount(data_.tables.size()), "tables");
        Tile(FormatBytes(data_.bytes), "on the source");
        Tile(FormatCount(data_.rows), "rows copied");
        Tile(FormatCount(data_.changes),
             "changes in " + FormatCount(data_.transactions) + " transactions");
        Tile(FormatCount(data_.conflicts.size()),
             (data_.conflicts.size() == 1 ? "conflict" : "conflicts") +
                 (data_.skipped.empty()
                      ? std::string()
                      : ", " + Counted(data_.skipped.size(), "skipped transaction")));
        Tile(CompareVerdict(), "comparison of the data");
        html_ += "</div>\n";
    }

    double
    CutoverSeconds() const {
        for (const ReportStage &stage : data_.stages) {
            if (stage.name == "cutover") {
                return stage.span.end - stage.span.start;
            }
        }
        return 0;
    }

    std::string
    CompareVerdict() const {
        if (data_.comparisons.empty()) {
            return "not made";
        }
        const auto different =
            std::count_if(data_.comparisons.begin(), data_.comparisons.end(),
                          [](const ReportComparison &row) { return !row.equal; });
        return different == 0 ? "equal" : Counted(static_cast<uint64_t>(different), "difference");
    }

    // left and width as shares of the whole migration.
    std::string
    Position(const ReportSpan &span) const {
        const double total = data_.seconds > 0 ? data_.seconds : 1;
        const double start = std::clamp(span.start / total, 0.0, 1.0);
        const double width = std::clamp((span.end - span.start) / total, 0.0, 1.0 - start);
        return "left:" + HtmlNumber(start * 100) + "%;width:" + HtmlNumber(width * 100) + "%";
    }

    void
    Lanes(const char *title, const char *css_class, const std::vector<ReportTask> &tasks) {
        html_ += "<p class=\"group\">" + std::string(title) + "</p><div class=\"lanes\">";
        for (const std::vector<size_t> &lane : LanesOf(tasks)) {
            html_ += "<div class=\"lane " + std::string(css_class) + "\">";
            for (const size_t index : lane) {
                const ReportTask &task = tasks[index];
                html_ +=
                    "<i style=\"" + Position(*task.span) + "\" title=\"" +
                    HtmlText(task.name + " (" + task.kind + "): " + FormatSeconds(Seconds(task))) +
                    "\"></i>";
            }
            html_ += "</div>";
        }
        html_ += "</div>";
    }

    // A name that would be cut off says less than none; the title has it.
    std::string
    StageLabel(const ReportStage &stage) const {
        constexpr double kCharacter = 0.012; // of the page's width
        constexpr double kOnPhone = 0.03;
        const double share = (stage.span.end - stage.span.start) /
                             (data_.seconds * static_cast<double>(stage.name.size()));
        if (!(share > kCharacter)) {
            return "";
        }
        const std::string name = HtmlText(stage.name);
        return share > kOnPhone ? name : "<span class=\"hide\">" + name + "</span>";
    }

    void
    Timeline() {
        Section("timeline", "Timeline");
        html_ += "<div class=\"card timeline\"><p class=\"group\">Stages</p>"
                 "<div class=\"lane stages\">";
        for (const ReportStage &stage : data_.stages) {
            html_ +=
                "<i style=\"" + Position(stage.span) + "\" title=\"" +
                HtmlText(stage.name + ": " + FormatSeconds(stage.span.end - stage.span.start)) +
                "\">" + StageLabel(stage) + "</i>";
        }
        html_ += "</div>";
        Lanes("Tables copied, one bar each, as many rows as ran at a time", "tables", data_.tables);
        Lanes("Indexes, constraints and ANALYZE", "jobs", data_.jobs);
        html_ += "<div class=\"ends\"><span>" + HtmlText(data_.started) + "</span><span>" +
                 HtmlText(data_.ended) + "</span></div></div>\n";
    }

    Chart
    NewChart(const char *title, std::string (*format)(double)) const {
        return {title, data_.seconds, format, data_.started, data_.ended, {}};
    }

    template <typename Value>
    ChartLine
    Line(const char *name, const char *css_class, Value value) const {
        ChartLine line{name, css_class, {}};
        for (const ReportSample &sample : data_.samples) {
            line.points.emplace_back(sample.at, value(sample));
        }
        return line;
    }

    void
    Charts() {
        Section("charts", "Lag and throughput");
        html_ += "<div class=\"charts\">";
        Chart lag = NewChart("Replay lag", FormatSeconds);
        lag.lines.push_back(Line("lag", "one", [](const ReportSample &s) { return s.lag; }));
        Chart wal = NewChart("WAL of the source", FormatByteRate);
        wal.lines.push_back(
            Line("written", "two", [](const ReportSample &s) { return std::optional(s.written); }));
        wal.lines.push_back(
            Line("applied", "one", [](const ReportSample &s) { return std::optional(s.applied); }));
        Chart changes = NewChart("Changes applied a second", [](double value) {
            return FormatCount(static_cast<uint64_t>(value));
        });
        changes.lines.push_back(
            Line("changes", "one", [](const ReportSample &s) { return std::optional(s.changes); }));
        Chart copy = NewChart("Copy throughput", FormatByteRate);
        copy.lines.push_back(
            Line("copied", "one", [](const ReportSample &s) { return std::optional(s.copied); }));
        for (const Chart *chart : {&lag, &wal, &changes, &copy}) {
            html_ += RenderChart(*chart);
        }
        html_ += "</div>\n";
    }

    // The slowest first; those behind the first twenty fold away.
    template <typename Row>
    void
    TaskTable(const std::vector<ReportTask> &tasks, const std::string &head, Row row) {
        std::vector<size_t> order(tasks.size());
        std::iota(order.begin(), order.end(), size_t{0});
        std::stable_sort(order.begin(), order.end(),
                         [&](size_t a, size_t b) { return Seconds(tasks[a]) > Seconds(tasks[b]); });
        html_ += "<div class=\"card wide\"><table><thead><tr>" + head + "</tr></thead><tbody>";
        for (size_t i = 0; i < order.size(); i++) {
            if (i == kShownRows) {
                html_ += "</tbody></table><details><summary>" +
                         FormatCount(order.size() - kShownRows) +
                         " more</summary><table><thead><tr>" + head + "</tr></thead><tbody>";
            }
            html_ += row(tasks[order[i]]);
        }
        html_ += "</tbody></table>";
        html_ += order.size() > kShownRows ? "</details></div>\n" : "</div>\n";
    }

    std::string
    SpanCell(const ReportTask &task, const char *css_class) const {
        return Cell("span", task.span ? "<i class=\"" + std::string(css_class) + "\" style=\"" +
                                            Position(*task.span) + "\"></i>"
                                      : "");
    }

    std::string
    StateCell(const ReportTask &task) const {
        return Cell("text", HtmlText(task.state) + (task.error.empty()
                                                        ? ""
                                                        : ": <span class=\"bad\">" +
                                                              HtmlText(task.error) + "</span>"));
    }

    void
    Tables() {
        Section("tables", "Tables, the slowest first");
        TaskTable(
            data_.tables,
            "<th>table</th><th class=\"n\">size</th><th class=\"n hide\">rows</th>"
            "<th class=\"n hide\">parts</th><th class=\"n\">time</th>"
            "<th class=\"n hide\">rate</th><th>when</th><th class=\"hide\">state</th>",
            [this](const ReportTask &task) {
                const double seconds = Seconds(task);
                const double rate = seconds > 0 ? static_cast<double>(task.bytes) / seconds : 0;
                return "<tr>" + Cell("name", HtmlText(task.name)) +
                       Cell("n", FormatBytes(task.bytes)) + Cell("n hide", FormatCount(task.rows)) +
                       Cell("n hide", std::to_string(task.parts)) +
                       Cell("n", FormatSeconds(seconds)) + Cell("n hide", FormatByteRate(rate)) +
                       SpanCell(task, "table") + Cell("hide", HtmlText(task.state)) + "</tr>";
            });
    }

    void
    Jobs() {
        Section("jobs", "Indexes, constraints and statistics, the slowest first");
        TaskTable(data_.jobs,
                  "<th>object</th><th>kind</th><th class=\"n\">time</th><th>when</th>"
                  "<th class=\"hide\">state</th>",
                  [this](const ReportTask &task) {
                      return "<tr>" + Cell("name", HtmlText(task.name)) +
                             Cell("kind", HtmlText(task.kind)) +
                             Cell("n", FormatSeconds(Seconds(task))) + SpanCell(task, "job") +
                             (task.error.empty() ? Cell("hide", HtmlText(task.state))
                                                 : StateCell(task)) +
                             "</tr>";
                  });
    }

    void
    Comparison() {
        Section("comparison", "Comparison of the data");
        if (data_.comparisons.empty()) {
            html_ += "<p class=\"none\">compare_data() was not called.</p>\n";
            return;
        }
        std::vector<ReportComparison> rows = data_.comparisons;
        std::stable_sort(rows.begin(), rows.end(),
                         [](const auto &a, const auto &b) { return a.equal < b.equal; });
        const std::string head = "<thead><tr><th>table</th><th class=\"n\">rows on the source"
                                 "</th><th class=\"n\">on the target</th><th>result</th>"
                                 "<th class=\"hide\">at</th></tr></thead><tbody>";
        html_ += "<div class=\"card wide\"><table>" + head;
        for (size_t i = 0; i < rows.size(); i++) {
            if (i == kShownRows) {
                html_ += "</tbody></table><details><summary>" +
                         FormatCount(rows.size() - kShownRows) + " more</summary><table>" + head;
            }
            html_ += "<tr>" + Cell("name", HtmlText(rows[i].relation)) +
                     Cell("n", HtmlText(rows[i].source_rows)) +
                     Cell("n", HtmlText(rows[i].target_rows)) +
                     Cell("found", rows[i].equal ? "<span class=\"good\">equal</span>"
                                                 : "<span class=\"bad\">differs</span>" +
                                                       Below(rows[i].detail)) +
                     Cell("when hide", HtmlText(rows[i].at)) + "</tr>";
        }
        html_ += rows.size() > kShownRows ? "</tbody></table></details></div>\n"
                                          : "</tbody></table></div>\n";
    }

    // A second line of a cell.
    static std::string
    Below(const std::string &text) {
        return text.empty() ? "" : "<br><span class=\"soft\">" + HtmlText(text) + "</span>";
    }

    void
    Schema() {
        Section("schema", "Comparison of the schema");
        if (data_.schema_compared.empty()) {
            html_ += "<p class=\"none\">compare_schema() was not called.</p>\n";
            return;
        }
        html_ += "<p class=\"soft\">At " + HtmlText(data_.schema_compared) + ": " +
                 (data_.schema_differences.empty()
                      ? "<span class=\"good\">no difference</span>"
                      : Counted(data_.schema_differences.size(), "difference")) +
                 ".</p>\n";
        if (data_.schema_differences.empty()) {
            return;
        }
        html_ += "<div class=\"card wide\"><table class=\"stack\"><thead><tr><th>object</th>"
                 "<th>source</th><th>target</th></tr></thead><tbody>";
        for (const ReportSchemaDifference &difference : data_.schema_differences) {
            const auto side = [](const std::string &text) {
                return text.empty() ? "<span class=\"soft\">not there</span>" : HtmlText(text);
            };
            html_ +=
                "<tr>" + Cell("name", HtmlText(difference.object)) +
                Cell("text", "<span class=\"label\">source: </span>" + side(difference.source)) +
                Cell("text", "<span class=\"label\">target: </span>" + side(difference.target)) +
                "</tr>";
        }
        html_ += "</tbody></table></div>\n";
    }

    void
    Conflicts() {
        Section("conflicts", "Conflicts and skipped transactions");
        if (data_.conflicts.empty() && data_.skipped.empty()) {
            html_ += "<p class=\"none\">Every change was applied.</p>\n";
            return;
        }
        if (!data_.conflicts.empty()) {
            html_ += "<div class=\"card wide\"><table class=\"stack\"><thead><tr><th>at</th>"
                     "<th>table</th><th>key</th><th>conflict</th></tr></thead><tbody>";
        }
        for (const ReportConflict &conflict : data_.conflicts) {
            std::string below = conflict.resolution;
            if (!conflict.end_lsn.empty()) {
                below += (below.empty() ? "" : "; ") + ("transaction " + conflict.end_lsn);
            }
            html_ += "<tr>" + Cell("when", HtmlText(conflict.at)) +
                     Cell("name", HtmlText(conflict.table)) +
                     Cell("name", "<code>" + HtmlText(conflict.key) + "</code>") +
                     Cell("text", HtmlText(conflict.message) + Below(below)) + "</tr>";
        }
        html_ += data_.conflicts.empty() ? "" : "</tbody></table></div>\n";
        if (data_.skipped.empty()) {
            return;
        }
        html_ += "<div class=\"card wide\"><table class=\"stack\"><thead><tr><th>transaction</th>"
                 "<th class=\"n\">changes</th><th>skipped</th></tr></thead><tbody>";
        for (const ReportSkipped &skipped : data_.skipped) {
            html_ += "<tr>" + Cell("when", HtmlText(skipped.commit_lsn)) +
                     Cell("n", HtmlText(skipped.changes)) +
                     Cell("text",
                          (skipped.skipped_at.empty() ? "not yet" : HtmlText(skipped.skipped_at)) +
                              Below("asked for by " + skipped.requested_by + " at " +
                                    skipped.requested_at)) +
                     "</tr>";
        }
        html_ += "</tbody></table></div>\n";
    }

    void
    Checks() {
        Section("checks", "Checks");
        html_ += "<div class=\"card wide\"><table "
                 "class=\"stack\"><thead><tr><th>check</th><th>stage</th>"
                 "<th>outcome</th><th>object</th><th>finding</th></tr></thead><tbody>";
        for (const ReportCheck &check : data_.checks) {
            html_ += "<tr>" + Cell("when", HtmlText(check.check_id)) +
                     Cell("when", HtmlText(check.stage)) + Cell("when", Badge(check.severity)) +
                     Cell("name", HtmlText(check.object)) +
                     Cell("text", HtmlText(check.message) +
                                      (check.fix.empty()
                                           ? ""
                                           : "<br><code>" + HtmlText(check.fix) + "</code>")) +
                     "</tr>";
        }
        html_ += "</tbody></table></div>\n";
    }

    void
    Settings() {
        Section("settings", "Settings");
        html_ += "<div class=\"card wide\"><table class=\"stack\"><tbody>";
        for (const auto &[name, value] : data_.settings) {
            html_ += "<tr><th>" + HtmlText(name) + "</th>" +
                     Cell("text", "<code>" + HtmlText(value) + "</code>") + "</tr>";
        }
        html_ += "</tbody></table></div>\n";
    }

    void
    Events() {
        Section("events", "Events");
        html_ += "<div class=\"card wide\"><table "
                 "class=\"stack\"><thead><tr><th>at</th><th>severity</th>"
                 "<th class=\"hide\">stage</th><th>message</th></tr></thead><tbody>";
        for (const ReportEvent &event : data_.events) {
            html_ +=
                "<tr>" + Cell("when", HtmlText(event.at)) + Cell("when", Badge(event.severity)) +
                Cell("hide", HtmlText(event.stage)) +
                Cell("text", HtmlText(event.message) +
                                 (event.detail.empty() ? ""
                                                       : "<br><span class=\"soft\">" +
                                                             HtmlText(event.detail) + "</span>")) +
                "</tr>";
        }
        html_ += "</tbody></table></div>\n";
    }

    const ReportData &data_;
    std::string html_;
};

} // namespace

std::vector<std::vector<size_t>>
LanesOf(const std::vector<ReportTask> &tasks) {
    std::vector<size_t> order;
    for (size_t i = 0; i < tasks.size(); i++) {
        if (tasks[i].span) {
            order.push_back(i);
        }
    }
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
        return tasks[a].span->start < tasks[b].span->start;
    });
    std::vector<std::vector<size_t>> lanes;
    for (const size_t index : order) {
        const auto free = std::find_if(lanes.begin(), lanes.end(), [&](const auto &lane) {
            return tasks[lane.back()].span->end <= tasks[index].span->start;
        });
        if (free == lanes.end()) {
            lanes.push_back({index});
        } else {
            free->push_back(index);
        }
    }
    return lanes;
}

std::string
RenderReport(const ReportData &data) {
    return Page(data).Render();
}

} // namespace livemigrate
