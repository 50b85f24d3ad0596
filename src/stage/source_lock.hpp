// Keeps tables of the source from being rewritten while they are copied.
#pragma once

#include "source/connection.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace livemigrate::stage {

struct SourceTableName {
    uint32_t oid = 0;
    std::string schema;
    std::string name;
};

// Locks the tables in ACCESS SHARE mode for the rest of the session's transaction, and makes sure
// that what is locked is what the transaction's snapshot sees. `waiting` is called about once a
// second while the lock is waited for. Throws Error
// - 55006 (again with a new snapshot) for a table that was rewritten since the snapshot: it would
//   look empty (PostgreSQL documentation, "Caveats" of MVCC); and for a name that belongs to
//   another table now, which the snapshot may not see, or see empty;
// - 42P01 for one that was dropped, or replaced by another of its name: the slot's publication and
//   what is known of its columns belong to the old one.
void LockSourceTables(source::Connection &session, const std::vector<SourceTableName> &tables,
                      const source::WaitObserver &waiting);

// Throws the same 55006 if a name belongs to another table now. A lock on a table keeps its name,
// but not that of its schema: what was read by name since the lock is the table's if this finds
// nothing.
void CheckSourceNames(source::Connection &session, const std::vector<SourceTableName> &tables);

} // namespace livemigrate::stage
