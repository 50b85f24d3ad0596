// The samples behind the view lag_history: taken every few seconds while a coordinator runs,
// thinned as they age, so that a migration of any length keeps some thousands of them.
#pragma once

#include "core/migration_state.hpp"
#include "core/shared_state.hpp"

#include <chrono>
#include <cstdint>

namespace livemigrate::control {

class LagHistory {
  public:
    // Adds a sample in a transaction of its own if the last one is old enough, or `at_once`.
    // REQUIRES: no open transaction.
    void Sample(int32_t migration, Stage stage, const SharedState &state, bool at_once = false);

  private:
    std::chrono::steady_clock::time_point last_sample_{};
    std::chrono::steady_clock::time_point last_thinning_{};
};

} // namespace livemigrate::control
