// The checks at cutover for a migration as the catalog holds it, and the record of any checks.
#pragma once

#include "control/catalog.hpp"
#include "stage/check_row.hpp"

#include <chrono>
#include <optional>
#include <vector>

namespace livemigrate::control {

// See stage/cutover_check and control/cutover_readiness. REQUIRES: an open transaction.
std::vector<stage::CheckRow> CheckCutover(const Migration &migration,
                                          std::optional<std::chrono::milliseconds> limit,
                                          bool thorough);

// Keeps the rows for the view checks, in place of what was kept of the stage; warnings and notices
// are events, too. REQUIRES: an open transaction.
void RecordChecks(int32_t id, Stage stage, const std::vector<stage::CheckRow> &rows);

} // namespace livemigrate::control
