// The checks at cutover for a migration as the catalog holds it, and the record of any checks.
#pragma once

#include "control/catalog.hpp"
#include "stage/check_row.hpp"
#include "stage/preflight.hpp"

#include <chrono>
#include <optional>
#include <vector>

namespace livemigrate::control {

// See stage/cutover_check and control/cutover_readiness. `waiting` is called in the transaction
// about once a second while the source is waited for. REQUIRES: an open transaction.
std::vector<stage::CheckRow> CheckCutover(const Migration &migration,
                                          std::optional<std::chrono::milliseconds> limit,
                                          bool thorough, const source::WaitObserver &waiting = {});

// Keeps the rows for the view checks, in place of what was kept of the stage; warnings and notices
// are events, too. REQUIRES: an open transaction.
void RecordChecks(int32_t id, Stage stage, const std::vector<stage::CheckRow> &rows);

// What a check without errors says of the source, into `migration` and its row, and the rows as
// RecordChecks() does. REQUIRES: an open transaction.
void RecordPreflight(Migration &migration, const stage::PreflightResult &result);

} // namespace livemigrate::control
