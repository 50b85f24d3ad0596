// Smoothed rates of the shared counters, for the status and its estimate of time.
#pragma once

#include "core/shared_state.hpp"

#include <chrono>
#include <cstdint>

namespace livemigrate {

class RateMeter {
  public:
    using Clock = std::chrono::steady_clock;

    // Takes a sample, at most once a second, and publishes the rates. `copied_bytes` counts all
    // rows copied so far.
    void Sample(SharedState &state, uint64_t copied_bytes, Clock::time_point now = Clock::now());

    // Begins anew, with all rates at 0 and no end in sight: what a stage did says nothing about the
    // next one.
    void Reset(SharedState &state);

  private:
    struct Counters {
        double copied = 0;
        double changes = 0;
        double applied = 0;
        double source = 0;
    };

    Clock::time_point last_{};
    Counters before_;
    bool started_ = false;
};

} // namespace livemigrate
