// A table that is to become a hypertable: an element of option `hypertables` of migration_start.
#pragma once

#include <string>

namespace livemigrate {

struct HypertableOption {
    std::string schema;
    std::string table;
    std::string time_column;
    std::string chunk_interval;   // an interval, or a number for an integer time; "": the default
    std::string partition_column; // by whose hash rows are dealt to `partitions`; "": none
    int partitions = 0;
    bool default_index = false; // TimescaleDB's own index on the time column
};

} // namespace livemigrate
