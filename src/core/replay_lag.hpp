// How far apply is behind the source, and whether it will ever catch up: from the shared counters
// alone, so that the coordinator, the status and the samples of lag_history agree.
#pragma once

#include "core/shared_state.hpp"

#include <cstdint>
#include <optional>

namespace livemigrate {

// Everything that was received is applied, or everything up to endpos.
bool IsDrained(const SharedState &state);

// Microseconds between the newest source commit that is applied and now, by the source's clock; 0
// when drained; nullopt before anything was applied. `now` is this machine's time, as TimestampTz.
std::optional<int64_t> ReplayLag(const SharedState &state, int64_t now);

// Rates in bytes of the source's WAL a second.
struct Pace {
    double apply = 0;
    double source = 0;
    uint64_t lag_bytes = 0;
};

// nullopt when the source writes at least as fast as apply works: never, at this pace.
std::optional<double> SecondsToCatchUp(const Pace &pace);

// Whether that deserves a warning: the backlog is worth mentioning and does not shrink, and the
// stage has lasted long enough for the smoothed rates to mean something.
bool IsNotConverging(const Pace &pace, double stage_seconds);

} // namespace livemigrate
