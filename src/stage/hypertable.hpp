// Tables that become hypertables on the target.
#pragma once

#include "core/hypertable_option.hpp"

#include <string>
#include <vector>

namespace livemigrate::stage {

// Calls create_hypertable() for each. REQUIRES: an open transaction; the tables are there, empty.
void CreateHypertables(const std::vector<HypertableOption> &options);

// Tells continuous aggregates that all of what they read may have changed, where they learn of
// changes by triggers (TimescaleDB before 2.23), which do not fire in replica role. What was
// summed up meanwhile is then summed up anew by the next refresh of that time. Returns a warning
// for what could not be done. REQUIRES: an open transaction.
std::vector<std::string> InvalidateAggregates();

} // namespace livemigrate::stage
