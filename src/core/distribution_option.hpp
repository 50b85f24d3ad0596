// A table that is to become one of Citus's: an element of option `distributed_tables` or
// `reference_tables` of migration_start.
#pragma once

#include <string>

namespace livemigrate {

struct DistributionOption {
    std::string schema;
    std::string table;
    std::string column;          // by whose hash rows are placed; "": a reference table
    std::string colocate_schema; // of the table beside whose shards these lie
    std::string colocate_table;  // its name; "": Citus's default, or colocate_none
    bool colocate_none = false;  // a group of its own
    int shard_count = 0;         // 0: Citus's default

    bool
    is_reference() const {
        return column.empty();
    }
};

} // namespace livemigrate
