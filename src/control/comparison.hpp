// Comparing the data of a migration: units of tables and key ranges, dealt to background workers,
// and while changes stream, one moment on both sides.
#pragma once

#include "control/catalog.hpp"
#include "core/lsn.hpp"
#include "stage/compare_image.hpp"
#include "stage/compare_unit.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace livemigrate::control {

struct ComparisonSettings {
    size_t max_rows = 10; // of differing rows named for each table
    bool resume = false;  // go on with the latest comparison that was interrupted
};

struct TableComparison {
    std::string relation;     // schema.table, quoted where needed
    int64_t source_rows = -1; // -1: there is no such table
    int64_t target_rows = -1;
    std::string source_checksum; // "" where there is no such table
    std::string target_checksum;
    bool equal = false;
    std::string detail;                    // why not, beyond the figures; else ""
    std::vector<stage::DifferingRow> rows; // some of those that differ
    Lsn lsn;                               // the moment compared; invalid: none in particular
    double held_seconds = 0;               // how long apply was held for all of them
};

// A table's name in TableComparison.relation and in the view comparisons.
std::string ComparedName(const std::string &schema, const std::string &table);

// One result for each table, in the order of `tables`.
//
// While apply runs, it is held until a snapshot of the source and one of the target see the same
// moment (control/apply_hold), then goes on, unless livemigrate.compare_holds_apply. Otherwise each
// side sees what is committed when a table's turn comes.
//
// livemigrate.compare_jobs workers read a unit each; results are kept as they come, so that a
// comparison that is interrupted can be resumed. Without a free worker slot this session does it
// alone, which it cannot do while apply runs: Error 53400. However the call ends, apply goes on and
// the workers leave.
// REQUIRES: an open transaction; while apply runs, READ COMMITTED and no subtransaction, else Error
// 25001.
std::vector<TableComparison> Compare(const Migration &migration,
                                     const std::vector<stage::ComparedTable> &tables,
                                     const ComparisonSettings &settings);

} // namespace livemigrate::control
