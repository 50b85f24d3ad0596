// The text screen of livemigrate.dashboard(): at most 78 columns and 17 lines, so that with psql's
// own lines around it \watch fits a terminal of 80 by 24 and never scrolls.
#pragma once

#include "core/migration_state.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace livemigrate {

inline constexpr size_t kDashboardColumns = 78;
inline constexpr size_t kDashboardLines = 17;

// A table being copied or a statement being run.
struct RunningTask {
    std::string name;
    std::optional<double> done; // 0 to 1; nullopt where that is not known
    double seconds = 0;
    std::string note;
};

struct RecentEvent {
    std::string at; // time of day
    std::string severity;
    std::string message;
};

struct DashboardData {
    std::string migration;
    Stage stage = Stage::kPreflight;
    bool stage_ended = false;
    State state = State::kRunning;
    std::string message;
    std::string hint;
    std::string plugin;
    double seconds = 0; // since the start
    double stage_seconds = 0;
    uint64_t tables_total = 0;
    uint64_t tables_done = 0;
    uint64_t bytes_total = 0;
    uint64_t bytes_done = 0;
    uint64_t indexes_total = 0;
    uint64_t indexes_done = 0;
    uint64_t transactions = 0;
    uint64_t changes = 0;
    uint64_t conflicts = 0;
    uint64_t stream_bytes = 0;         // received beyond the snapshot
    uint64_t stream_bytes_applied = 0; // of these
    std::optional<double> replay_lag;
    std::optional<double> eta;
    std::optional<uint64_t> lag_bytes;
    std::optional<uint64_t> spool_bytes;
    double copy_rate = 0;
    double change_rate = 0;
    double apply_rate = 0;
    double source_rate = 0;
    std::vector<RunningTask> tasks;  // the largest first; three are shown
    std::vector<RecentEvent> events; // the newest last; the last three are shown
};

// `ascii` for terminals and encodings without block characters.
std::vector<std::string> RenderDashboard(const DashboardData &data, bool ascii);

} // namespace livemigrate
