// Tables whose rows an extension keeps elsewhere than in the table itself: in chunks (TimescaleDB),
// on other nodes (Citus). They are read and written through SQL, without ONLY, and never below it.
#pragma once

#include "pg/prelude.hpp"

#include <string>
#include <vector>

namespace livemigrate::pg {

enum class TableManager : uint8_t { kNone, kTimescaledb, kCitus };

// Who keeps the rows of the table. REQUIRES: an open transaction.
TableManager ManagerOf(Oid relid);

// The same by name; kNone where there is no such table.
TableManager ManagerOf(const std::string &schema, const std::string &table);

// Whether all of the table's rows lie in it, so that it can be named with ONLY: not where it is
// partitioned (as a plain table of the source may be on the target), or somebody keeps its rows.
// True where there is no such table. REQUIRES: an open transaction.
bool IsOneHeap(Oid relid);
bool IsOneHeap(const std::string &schema, const std::string &table);

// The columns that say where a row is kept, which UPDATE can therefore not set. Empty for a table
// that nobody keeps, and for Citus's reference tables. REQUIRES: an open transaction.
std::vector<std::string> PlacementColumns(Oid relid, TableManager manager);

std::vector<std::string> PlacementColumns(const std::string &schema, const std::string &table,
                                          TableManager manager);

// The table for TRUNCATE: with ONLY, which spares inheritance children, where that is understood.
std::string NameToTruncate(const std::string &schema, const std::string &table);

} // namespace livemigrate::pg
