// The target's half of a copy into a table whose rows an extension keeps, or may want to know of:
// what COPY reads is given to INSERT statements, thousands of rows at a time, so that the extension
// sees them as any client's.
#pragma once

#include "pg/prelude.hpp"

#include <string>

namespace livemigrate::stage {

// INSERT of a row set (pg/row_set) that has the table's columns but generated ones, in their order.
std::string InsertOfRowSet(Oid relid);

// Reads all rows of `copy`, with the defaults of columns that it lacks, and executes `insert` on
// them. `bytes` is what has been read so far. Returns the number of rows that were written.
// C-like, may ereport. REQUIRES: an active snapshot.
uint64 InsertRows(CopyFromState copy, Relation relation, const char *insert, const uint64 &bytes);

} // namespace livemigrate::stage
