// Tables of which an extension may want to know each row that is written.
#pragma once

#include "pg/prelude.hpp"

namespace livemigrate::pg {

// Whether an extension does more with the table than the table says, so that it is to be written
// through SQL: it has another table access method than heap, a trigger of an extension or one that
// depends on one, or is an extension's itself. C-like, may ereport. REQUIRES: the table is locked.
bool IsWatched(Relation relation);

// The same; of a partitioned table also whether one of its partitions is. Takes ACCESS SHARE locks.
// REQUIRES: an open transaction.
bool IsWatched(Oid relid);

} // namespace livemigrate::pg
