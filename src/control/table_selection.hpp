// Which tables a migration takes, from its settings.
#pragma once

#include "core/copy_task.hpp"
#include "core/migration_settings.hpp"
#include "core/table_pattern.hpp"
#include "source/catalog_query.hpp"

#include <algorithm>

namespace livemigrate::control {

inline TableFilter
FilterOf(const MigrationSettings &settings) {
    TableFilter filter;
    if (settings.include_tables) {
        filter.include = ParseTablePatterns(*settings.include_tables);
    }
    filter.exclude = ParseTablePatterns(settings.exclude_tables);
    return filter;
}

// Tables whose definition is taken and whose rows are not.
inline TableFilter
DataExclusionOf(const MigrationSettings &settings) {
    TableFilter filter;
    filter.include = ParseTablePatterns(settings.exclude_table_data);
    return filter;
}

// A table as the source has it: what the migration does with it is not decided.
inline CopyTable
CopyTableOf(const source::SourceTable &found, int32_t id) {
    CopyTable table;
    table.id = id;
    table.source_oid = found.oid;
    table.schema = found.schema;
    table.name = found.name;
    table.target_schema = found.schema;
    table.target_name = found.name;
    table.relkind = found.relkind;
    table.persistence = found.persistence;
    table.pages = found.pages;
    table.bytes = found.bytes;
    table.rows_estimate = std::max<int64_t>(found.rows_estimate, 0);
    table.filenode = found.filenode;
    table.replica_identity = found.replica_identity;
    table.identity_usable = found.identity_usable;
    table.rows_changed = found.rows_changed;
    return table;
}

// Whether the user knows that rows of the table are inserted only.
inline bool
IsInsertOnlyAccepted(const MigrationSettings &settings, const CopyTable &table) {
    const std::vector<TablePattern> patterns = ParseTablePatterns(settings.insert_only_tables);
    return std::any_of(patterns.begin(), patterns.end(), [&](const TablePattern &pattern) {
        return pattern.Matches(table.schema, table.name);
    });
}

} // namespace livemigrate::control
