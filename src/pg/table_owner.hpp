// Writing a table as its owner.
#pragma once

#include "pg/prelude.hpp"

namespace livemigrate::pg {

// The role that rows of the table are to be written as: its owner, or an invalid Oid where that is
// the session's role anyway, where that may not act for the owner, or where an extension keeps the
// rows (pg/table_manager).
//
// What a table brings along from the source (expressions of indexes and generated columns, checks,
// triggers that fire always) may be written by its owner, and is not to run with the rights of the
// role that migrates. REQUIRES: an open transaction.
Oid OwnerToWriteAs(Oid relid);

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
