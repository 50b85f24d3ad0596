// Sizes and speeds for migration_estimate: looks at the source, reads a little of it, and writes a
// table on the target that is dropped again before anybody sees it.
#pragma once

#include "core/estimate.hpp"
#include "core/migration_settings.hpp"

#include <chrono>

namespace livemigrate::stage {

// Takes about `sample` and a second more. REQUIRES: an open transaction on the target.
EstimateInput MeasureForEstimate(const MigrationSettings &settings,
                                 std::chrono::milliseconds sample);

} // namespace livemigrate::stage
