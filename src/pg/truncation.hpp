// Emptying tables. Triggers of theirs that fire in replica role run with the rights of the owner,
// see pg/table_owner.
#pragma once

#include "pg/prelude.hpp"

#include <set>
#include <string>
#include <utility>
#include <vector>

namespace livemigrate::pg {

// TRUNCATE of the tables in one statement, wherever their rows lie, but not of inheritance
// children; in replica role, too, in which Citus by itself would empty no shard. Runs as their
// owner; tables of several owners, or of one who may not use a schema, are truncated as the
// session's role, unless a trigger fires: then Error 0A000, or 42501. REQUIRES: an open
// transaction.
void TruncateTables(const std::vector<Oid> &tables, bool restart_identity = false);

// The tables that foreign keys of the target lead from to those, and that must therefore be in
// their TRUNCATE, though a stream that has it does not name them: partitioned tables, of which it
// has the partitions, and tables whose rows are not in it: empty ones, and of `not_streamed`
// (schema and name) the unlogged. The source has the same foreign keys, so whoever truncated there
// has truncated these. Nothing if another table than such would have to come along. REQUIRES: an
// open transaction.
std::vector<Oid> TruncatedAlong(const std::vector<Oid> &tables,
                                const std::set<std::pair<std::string, std::string>> &not_streamed);

// Whether nothing but the table's owner and rows is touched by its TRUNCATE: no other table
// references it, and it has no TRUNCATE trigger, be it enabled or not. REQUIRES: an open
// transaction.
bool CanBeTruncatedAlone(Oid table);

// DELETE of the rows that an SQL expression holds for, all if it is empty, in replica role.
// REQUIRES: an open transaction.
void DeleteRows(Oid table, const std::string &condition);

// Takes all rows out of one table: by DELETE where a foreign key of another table points at it,
// which lets no TRUNCATE through even where there are no rows. REQUIRES: an open transaction.
void EmptyTable(Oid table);

} // namespace livemigrate::pg
