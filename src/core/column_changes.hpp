// What became of the columns of a table of the source since its rows were copied, and the SQL by
// which the target's table follows.
//
// The change stream carries rows, not definitions. A value of a column whose type has changed may
// be taken by the column that the target has, rounded or cut; and rows that the source rewrote in
// the course of its ALTER TABLE are not in the stream at all.
#pragma once

#include "core/change.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace livemigrate {

// A column that pgoutput sends: no generated one.
struct SourceColumn {
    int16_t number = 0; // pg_attribute.attnum: stays when the column is renamed
    std::string name;
    uint32_t type_oid = 0;
    uint32_t wire_type_oid = 0; // as which binary values are described, see core/wire_types
    int32_t type_modifier = -1;

    friend bool operator==(const SourceColumn &, const SourceColumn &) = default;
};

struct ColumnChange {
    // kReplaced: one column took another's name.
    enum class Kind : uint8_t { kAdded, kDropped, kRetyped, kReplaced } kind;
    RemoteColumn column;          // as it is now; kDropped: nothing but its name
    uint32_t former_type_oid = 0; // kRetyped
};

// A column that is renamed is one dropped and one added. Columns in the order of their numbers, in
// which pgoutput names them, too: one that comes earlier than it did, or later, is another one.
std::vector<ColumnChange> FindColumnChanges(const std::vector<SourceColumn> &before,
                                            const std::vector<RemoteColumn> &now);
std::vector<ColumnChange> FindColumnChanges(const std::vector<SourceColumn> &before,
                                            const std::vector<SourceColumn> &now);

// How the source defines a column, for a statement that makes it. Expressions and types as the
// source's catalog functions print them with an empty search_path.
struct ColumnDefinition {
    int16_t number = 0;
    std::string name;
    std::string type;
    std::string collation = {}; // quoted; empty: the type's
    bool not_null = false;
    std::string default_value = {}; // an expression; empty: none
    // What the rows have that were there before the column, in the type's text form, where the
    // source kept that apart (pg_attribute.attmissingval, from 11 on).
    std::string missing_value = {};
    bool has_missing_value = false;
};

// The statements by which a table of the target follows the changes, each without a semicolon. None
// for columns that were replaced: what was done to them cannot be told.
// `definitions`: of the source's columns as they are now, at least of those added or of another
// type; a type is all that is needed of them.
std::vector<std::string> StatementsToFollow(const std::string &table,
                                            const std::vector<ColumnChange> &changes,
                                            const std::vector<SourceColumn> &before,
                                            const std::vector<ColumnDefinition> &definitions);

// "column \"a\" was added, column \"b\" was dropped"
std::string DescribeColumnChanges(const std::vector<ColumnChange> &changes);

} // namespace livemigrate
