// A change that could not be applied: for the conflicts view.
#pragma once

#include "core/change_batch.hpp"
#include "core/column_changes.hpp"
#include "core/error.hpp"
#include "core/lsn.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace livemigrate::stage {

struct ApplyFailure {
    bool set = false;
    std::string schema;
    std::string table;
    std::string command;
    std::string key; // (columns)=(values), cut off where it is long
    uint32_t xid = 0;
    Lsn commit_lsn;
    uint32_t unclear_partition = 0;    // its OID on the source, see UnclearPartition()
    int32_t replaced_table = 0;        // CopyTable::id of the one in whose place another has come
    std::vector<ColumnChange> columns; // of the table, that the target has not followed

    void Set(const RemoteRelation &relation, const char *what,
             const ChangeBatch::Transaction &transaction);
    void Set(const char *what, const ChangeBatch::Item &item, const std::string &row_key);
    // `error`, with the change it is about as its context, and a hint if it had none.
    Error Describe(const Error &error) const;
};

// "INSERT" and so on.
const char *CommandName(ChangeKind kind);

} // namespace livemigrate::stage
