// Whose locks the workers of a comparison wait for, on either side.
#pragma once

#include "control/comparison_shared.hpp"
#include "control/source_monitor.hpp"

#include <chrono>
#include <optional>
#include <string>

namespace livemigrate::control {

// Tells by NOTICE whoever compares, once for each that holds them up.
class ComparisonWaits {
  public:
    explicit ComparisonWaits(std::string source);

    // Looks every few seconds, however often it is called. REQUIRES: an open transaction.
    void Look(const SharedComparison &shared);

  private:
    void LookHere(const SharedComparison &shared);
    void LookOnSource();

    SourceMonitor monitor_;
    std::chrono::steady_clock::time_point next_; // not before
    std::optional<int32_t> told_here_;           // the process, 0 for a prepared transaction
    std::string told_on_source_;                 // what ends it
};

} // namespace livemigrate::control
