// Whether a migration is ready for its cutover, as far as livemigrate's own records and figures
// tell: how far apply is behind, what it has passed over, and what has been compared. The checks
// that look at tables are in stage/cutover_check.
#pragma once

#include "control/catalog.hpp"
#include "stage/check_row.hpp"

#include <optional>
#include <vector>

namespace livemigrate::control {

struct Readiness {
    std::vector<stage::CheckRow> rows; // in the form of cutover_check's
    // Until apply is where the source is now; nothing when it does not run, or will never be there.
    std::optional<double> seconds_behind;
};

// `thorough` also says what has not been compared, and what is left to clean up, which is no news
// in the middle of the stage cutover. REQUIRES: an open transaction.
Readiness CheckReadiness(const Migration &migration, bool thorough);

} // namespace livemigrate::control
