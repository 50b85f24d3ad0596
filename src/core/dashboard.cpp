#include "core/dashboard.hpp"

#include "core/operator_text.hpp"
#include "core/screen_text.hpp"
#include "core/sql_text.hpp"

#include <algorithm>
#include <cmath>

namespace livemigrate {

namespace {

constexpr size_t kBarColumns = 30;
constexpr size_t kShownTasks = 3;
constexpr size_t kShownEvents = 3;

std::string
Percent(double done) {
    // Only what is complete says 100 %.
    const auto percent = done >= 1 ? 100L : std::min(99L, std::lround(std::floor(done * 100)));
    const std::string text = std::to_string(std::max(0L, percent)) + " %";
    return std::string(text.size() < 6 ? 6 - text.size() : 0, ' ') + text;
}

double
Share(uint64_t done, uint64_t total, bool over) {
    if (over) {
        return 1;
    }
    return total == 0 ? 0 : static_cast<double>(done) / static_cast<double>(total);
}

class Screen {
  public:
    Screen(const DashboardData &data, bool ascii) : data_(data), ascii_(ascii) {}

    std::vector<std::string>
    Render() {
        Heading();
        Stages();
        Bars();
        Rates();
        Tasks();
        Events();
        return std::move(lines_);
    }

  private:
    void
    Add(const std::string &line) {
        lines_.push_back(CutColumns(line, kDashboardColumns, ascii_));
    }

    void
    Heading() {
        const std::string left = data_.migration + "  " + std::string(StageName(data_.stage)) +
                                 ", " + std::string(StateName(data_.state));
        const std::string right = data_.plugin + (data_.plugin.empty() ? "" : ", ") + "for " +
                                  FormatSeconds(data_.seconds);
        const size_t room = kDashboardColumns - std::min(right.size() + 1, kDashboardColumns);
        lines_.push_back(FitColumns(left, room, ascii_) + " " + right);
        Add(data_.message);
        Hint();
    }

    // On two lines where one is too short: it may hold a statement to be run.
    void
    Hint() {
        const std::string hint = "-> " + data_.hint;
        const size_t blank = hint.rfind(' ', kDashboardColumns);
        if (hint.size() <= kDashboardColumns || blank == std::string::npos || blank < 3) {
            Add(hint);
            return;
        }
        Add(hint.substr(0, blank));
        Add("   " + hint.substr(blank + 1));
    }

    // "+slot >data  indexes": done, current, to come.
    void
    Stages() {
        std::string line;
        for (int i = 0; i + 1 < kStageCount; i++) {
            const auto stage = static_cast<Stage>(i);
            const bool over = stage < data_.stage || (stage == data_.stage && data_.stage_ended);
            const bool current = stage == data_.stage && !over;
            line += (i == 0 ? "" : " ") +
                    std::string(current ? ">"
                                : over  ? "+"
                                        : " ") +
                    std::string(StageName(stage));
        }
        Add(line);
    }

    void
    Bar(const char *name, double done, const std::string &figures) {
        Add(FitColumns(name, 8, ascii_) + ProgressBar(done, kBarColumns, ascii_) + Percent(done) +
            "  " + figures);
    }

    void
    Bars() {
        const bool copied = data_.stage > Stage::kData;
        Bar("data", Share(data_.bytes_done, data_.bytes_total, copied),
            std::to_string(data_.tables_done) + "/" + Counted(data_.tables_total, "table") + ", " +
                FormatBytes(data_.bytes_done) + "/" + FormatBytes(data_.bytes_total));
        Bar("indexes",
            Share(data_.indexes_done, data_.indexes_total,
                  data_.stage > Stage::kIndexes && data_.indexes_done == data_.indexes_total),
            std::to_string(data_.indexes_done) + "/" + Counted(data_.indexes_total, "statement"));
        Bar("changes",
            Share(data_.stream_bytes_applied, data_.stream_bytes, data_.stage >= Stage::kCutover),
            FormatCount(data_.changes) + " in " + Counted(data_.transactions, "transaction"));
    }

    void
    Rates() {
        Add("copy " + FormatByteRate(data_.copy_rate) + "   apply " +
            FormatCount(static_cast<uint64_t>(std::max(0.0, data_.change_rate))) + " changes/s, " +
            FormatByteRate(data_.apply_rate) + "   source writes " +
            FormatByteRate(data_.source_rate));
        Add("lag " +
            (data_.replay_lag ? FormatSeconds(*data_.replay_lag) : std::string("unknown")) + ", " +
            (data_.lag_bytes ? FormatBytes(*data_.lag_bytes) : std::string("unknown")) +
            "   buffered " +
            (data_.spool_bytes ? FormatBytes(*data_.spool_bytes) : std::string("unknown")) +
            "   ETA " + (data_.eta ? FormatSeconds(*data_.eta) : std::string("unknown")) +
            (data_.conflicts == 0 ? "" : "   " + Counted(data_.conflicts, "conflict")));
    }

    void
    Tasks() {
        Add("running" + std::string(data_.tasks.empty() ? ": nothing" : ""));
        for (size_t i = 0; i < std::min(kShownTasks, data_.tasks.size()); i++) {
            const RunningTask &task = data_.tasks[i];
            std::string line = "  " + FitColumns(task.name, 34, ascii_) + " ";
            if (task.done) {
                line += ProgressBar(*task.done, 16, ascii_) + Percent(*task.done) + " ";
            }
            Add(line + FormatSeconds(task.seconds) + (task.note.empty() ? "" : ", " + task.note));
        }
    }

    void
    Events() {
        Add("last events");
        const size_t room = std::min(kShownEvents, kDashboardLines - lines_.size());
        const size_t first = data_.events.size() > room ? data_.events.size() - room : 0;
        for (size_t i = first; i < data_.events.size(); i++) {
            const RecentEvent &event = data_.events[i];
            Add("  " + event.at + " " + FitColumns(event.severity, 7, ascii_) + " " +
                event.message);
        }
    }

    const DashboardData &data_;
    const bool ascii_;
    std::vector<std::string> lines_;
};

} // namespace

std::vector<std::string>
RenderDashboard(const DashboardData &data, bool ascii) {
    return Screen(data, ascii).Render();
}

} // namespace livemigrate
