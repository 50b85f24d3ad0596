#include "core/replay_lag.hpp"

#include <algorithm>

namespace livemigrate {

namespace {

// Less than a spool segment's worth is caught up in a moment, whatever the rates of the last
// seconds were.
constexpr uint64_t kNotableBacklog = 16 << 20;
constexpr double kSecondsToJudge = 15;

} // namespace

bool
IsDrained(const SharedState &state) {
    const uint64_t reached = state.endpos_reached.load();
    if (reached != 0 && reached == state.endpos.load()) {
        return true; // what came after it is not to be applied
    }
    const uint64_t drained = state.drained_lsn.load();
    return drained != 0 && drained >= state.received_lsn.load();
}

std::optional<int64_t>
ReplayLag(const SharedState &state, int64_t now) {
    if (IsDrained(state)) {
        return 0;
    }
    const int64_t commit_time = state.applied_commit_time.load();
    if (commit_time == 0) {
        return std::nullopt;
    }
    return std::max<int64_t>(0, now + state.source_clock_offset.load() - commit_time);
}

std::optional<double>
SecondsToCatchUp(const Pace &pace) {
    if (pace.lag_bytes == 0) {
        return 0;
    }
    const double closing = pace.apply - pace.source;
    return closing > 0 ? std::optional(static_cast<double>(pace.lag_bytes) / closing)
                       : std::nullopt;
}

bool
IsNotConverging(const Pace &pace, double stage_seconds) {
    return stage_seconds >= kSecondsToJudge && pace.lag_bytes >= kNotableBacklog &&
           !SecondsToCatchUp(pace);
}

} // namespace livemigrate
