#include "core/rate_meter.hpp"

#include <algorithm>
#include <cmath>

namespace livemigrate {

namespace {

// How long a change of pace takes to show for the most part.
constexpr double kTimeConstantSeconds = 10.0;

void
Smooth(std::atomic<double> &rate, double difference, double seconds) {
    const double now = std::max(0.0, difference) / seconds;
    const double before = rate.load();
    const double weight = before == 0.0 ? 1.0 : 1.0 - std::exp(-seconds / kTimeConstantSeconds);
    rate.store(before + weight * (now - before));
}

} // namespace

void
RateMeter::Sample(SharedState &state, uint64_t copied_bytes, Clock::time_point now) {
    const double seconds = std::chrono::duration<double>(now - last_).count();
    if (started_ && seconds < 1.0) {
        return;
    }
    const Counters current = {static_cast<double>(copied_bytes),
                              static_cast<double>(state.changes_applied.load()),
                              static_cast<double>(state.applied_lsn.load()),
                              static_cast<double>(state.source_lsn.load())};
    if (started_) {
        Smooth(state.copy_bytes_per_second, current.copied - before_.copied, seconds);
        Smooth(state.changes_per_second, current.changes - before_.changes, seconds);
        if (before_.applied > 0) {
            Smooth(state.apply_bytes_per_second, current.applied - before_.applied, seconds);
        }
        if (before_.source > 0) {
            Smooth(state.source_bytes_per_second, current.source - before_.source, seconds);
        }
    }
    before_ = current;
    last_ = now;
    started_ = true;
}

void
RateMeter::Reset(SharedState &state) {
    for (std::atomic<double> *rate :
         {&state.copy_bytes_per_second, &state.changes_per_second, &state.apply_bytes_per_second,
          &state.source_bytes_per_second}) {
        rate->store(0);
    }
    state.work.jobs_end_at.store(0);
    started_ = false;
}

} // namespace livemigrate
