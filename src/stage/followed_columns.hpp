// Whether a table of the target has followed what became of its source's columns.
#pragma once

#include "core/column_changes.hpp"
#include "core/error.hpp"

#include <string>
#include <vector>

namespace livemigrate::stage {

// The changes that the target has not followed: it lacks a column that was added, still has one
// that was dropped, or has the old type of one that got another, or a narrower modifier.
// Nothing tells of columns that were replaced: they count as not followed. All are followed where
// the table is not there. REQUIRES: an open transaction.
std::vector<ColumnChange> NotFollowed(const std::string &schema, const std::string &table,
                                      const std::vector<ColumnChange> &changes);

// Definitions made of what the stream says of columns, for when the source cannot be asked.
// REQUIRES: an open transaction.
std::vector<ColumnDefinition> DefinitionsOf(const std::vector<ColumnChange> &changes);

// What to say of changes that were not followed. `statements`: StatementsToFollow().
Error ColumnsChanged(const std::string &schema, const std::string &table,
                     const std::vector<ColumnChange> &changes,
                     const std::vector<std::string> &statements);

// "ALTER TABLE ...; ALTER TABLE ...; "
std::string JoinStatements(const std::vector<std::string> &statements);

// The type of a source column as the target writes it; only types that every server has the same.
// REQUIRES: an open transaction.
std::string TypeName(const RemoteColumn &column);

} // namespace livemigrate::stage
