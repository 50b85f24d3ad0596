// Where the rows of a partition go on the target.
//
// A row's hash partition depends on the hash of its key, that of an enum value on the value's OID,
// that of text with a nondeterministic collation on the version of ICU, and that of citext on the
// database's locale, by which it is folded: the same row belongs to another partition on another
// server (hard case C11; PostgreSQL's pg_dump documentation,
// --load-via-partition-root). Such rows are routed through the ancestor.
#pragma once

#include "pg/prelude.hpp"

#include <string>
#include <utility>
#include <vector>

namespace livemigrate::pg {

// The topmost ancestor if one on the way hashes such a value, or one that has such values in it
// (an array, a row, a range); otherwise `relid` itself.
// REQUIRES: an open transaction; the relation is locked.
Oid RoutingRelation(Oid relid);

// The root of a partition; of any other table itself. REQUIRES: an open transaction; the relation
// is locked, or nobody attaches or detaches it.
Oid TopmostAncestor(Oid relid);

// Whether the rows of a table that may be there go through an ancestor. REQUIRES: an open
// transaction.
bool IsRouted(const std::string &schema, const std::string &table);

// Schema and name of each leaf of a partitioned table. REQUIRES: an open transaction.
std::vector<std::pair<std::string, std::string>> LeafPartitions(Oid root);

} // namespace livemigrate::pg
