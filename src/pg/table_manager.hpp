// Tables whose rows an extension keeps elsewhere than in the table itself: in chunks (TimescaleDB),
// on other nodes (Citus). They are read and written through SQL, without ONLY, and never below it.
#pragma once

#include "pg/prelude.hpp"

#include <string>
#include <utility>
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

// What a transaction runs first that is to write Citus's tables on other nodes: it makes the nodes'
// changes one with the transaction's, by two-phase commit, and has session_replication_role there
// what it is here. Empty where all rows are on this node. REQUIRES: an open transaction.
std::string JoinNodesSql();

// Whether the transaction has done so, or need not.
bool NodesAreJoined();

// Has the transaction's commit wait until its WAL is on disk, whatever synchronous_commit says,
// where Citus is: other nodes commit for good right behind it, and what a crash then takes here
// alone (the position of apply, that a part is copied) would be done there twice. REQUIRES: an open
// transaction.
void FlushCommitBeforeNodes();

// Has the extensions take, in one transaction of the session, whatever the source has done in one:
// TimescaleDB does not limit the rows that it decompresses (from 2.14 on), and Citus writes a
// table's shards one by one, since it refuses a change of a reference table behind one of several
// shards at once that refer to it. And lets continuous aggregates be told of what is written,
// whatever the database is set to (from 2.28 on). REQUIRES: an open transaction.
void AdaptExtensions();

// The relation's schema and name. REQUIRES: an open transaction; it exists.
std::pair<std::string, std::string> NameOf(Oid relid);

// The table of this name, or an invalid Oid. REQUIRES: an open transaction.
Oid FindTable(const std::string &schema, const std::string &table);

// The same, or an error.
Oid TableOid(const std::string &schema, const std::string &table);

} // namespace livemigrate::pg
