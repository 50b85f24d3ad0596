// Which tables a migration takes, from its settings.
#pragma once

#include "core/migration_settings.hpp"
#include "core/table_pattern.hpp"

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

} // namespace livemigrate::control
