// The preflight stage: everything that would make a migration fail or lose rows, found before it
// starts, each finding with the SQL or the configuration line that removes it.
#pragma once

#include "core/migration_settings.hpp"
#include "core/output_plugin.hpp"
#include "source/catalog_query.hpp"
#include "stage/check_row.hpp"

#include <string>
#include <vector>

namespace livemigrate::stage {

struct PreflightResult {
    std::vector<CheckRow> rows;
    Plugin plugin = Plugin::kPgoutput;    // what to use; a guess when a row is at error
    std::string plugin_reason;            // why that one: a sentence's tail, for the events
    bool wal2json_numeric_option = false; // this wal2json can send NaN and Infinity
    source::SourceInfo source;
    std::vector<source::SourceTable> tables; // those the filter selects, relkind r and p
};

// Runs all checks; changes nothing on either side (a temporary slot is made and dropped, to see
// whether the source loads the output plugin). Takes a few seconds at most, also when the source
// has open transactions.
//
// When the source cannot be reached, the only row is "connection". Throws Error for a malformed
// setting, and when the source breaks off. REQUIRES: an open transaction on the target.
PreflightResult RunPreflight(const MigrationSettings &settings);

// Throws one Error when a row is at error: the first one's SQLSTATE and message, the others' in the
// detail, and all fixes in the hint.
void ThrowOnErrors(const PreflightResult &result);

} // namespace livemigrate::stage
