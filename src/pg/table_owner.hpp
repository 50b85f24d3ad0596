// Writing a table as its owner.
#pragma once

#include "pg/prelude.hpp"

namespace livemigrate::pg {

// The role that rows of the table are to be written as: its owner, or an invalid Oid where that is
// the session's role anyway or one that it may not act for. Nor do rows of these go by their owner:
// - Citus's tables: it connects to other nodes as the role that writes, which there may not log in,
//   and what a transaction has set up for the nodes is another role's (pg::JoinNodesSql);
// - hypertables whose owner may not use their schema: they are written by statements.
//
// What a table brings along from the source (expressions of indexes and generated columns, checks,
// triggers that fire always) may be written by its owner, and is not to run with the rights of the
// role that migrates. REQUIRES: an open transaction.
Oid OwnerToWriteAs(Oid relid);

// Whether the role may use the schema of the table, as a statement that names the table must.
// REQUIRES: an open transaction.
bool MayUseSchemaOf(Oid relid, Oid role);

// For the life of a scope the session is that role, in a security-restricted operation as when
// PostgreSQL builds an index; an invalid Oid changes nothing. Row security does not bind the owner
// meanwhile, and settings that the table's code changes are put back. REQUIRES: an open
// transaction, which outlives the scope.
class AsOwner {
  public:
    explicit AsOwner(Oid role);
    ~AsOwner();
    AsOwner(const AsOwner &) = delete;
    AsOwner &operator=(const AsOwner &) = delete;

  private:
    Oid before_ = InvalidOid; // invalid: nothing was changed
    int security_before_ = 0;
    int settings_level_ = 0;
};

} // namespace livemigrate::pg
