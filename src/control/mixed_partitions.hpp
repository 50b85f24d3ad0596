// Partitions whose rows lie among one another's on the target.
#pragma once

#include "core/copy_task.hpp"
#include "source/catalog_query.hpp"

#include <cstdint>
#include <set>
#include <vector>

namespace livemigrate::control {

// Whether the table is one. REQUIRES: an open transaction.
bool IsMixed(const CopyTable &table);

// What is to be copied again under the new snapshot.
struct TablesToRepeat {
    std::set<int32_t> tables;  // that were complete
    std::set<uint32_t> filled; // tables of the target with their rows, to be emptied, by OID
};

// All partitions of a table if the source has truncated, or rewritten, a complete one while there
// was no snapshot: apply empties what was copied before a TRUNCATE, and not what was copied later,
// and could not tell the rows of the one from those of the other, unless bounds do. `files`: as the
// new snapshot sees them. Nothing where one of them is left out: its rows are the user's.
// REQUIRES: an open transaction.
TablesToRepeat FindTablesToRepeat(const std::vector<CopyTable> &tables,
                                  const source::Filenodes &files);

} // namespace livemigrate::control
