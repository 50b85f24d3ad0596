// Tables that Citus keeps on the target, or is to keep there.
#pragma once

#include "core/distribution_option.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace livemigrate::stage {

// Where Citus keeps the rows of a table.
struct Distribution {
    enum class Kind : uint8_t { kLocal, kReference, kDistributed };
    Kind kind = Kind::kLocal; // not Citus's
    std::string column;       // of a distributed table
    std::string group;        // those of one group have their shards side by side; "": not known
    std::string type;         // of the column, where the table is not made yet
    bool is_planned = false;  // named in the options, not made yet
};

struct PlacedTable {
    uint32_t source_oid = 0;
    std::string schema;
    std::string table;
    Distribution distribution;
};

// As the target has it now; kLocal where there is no such table, or no Citus. REQUIRES: an open
// transaction.
Distribution DistributionOf(const std::string &schema, const std::string &table);

// What has become of a table that the options name: kKept, kOtherwise: Citus keeps it already, as
// they say or not.
enum class Placed : uint8_t { kNow, kKept, kOtherwise };

// Calls create_distributed_table() or create_reference_table(), of a table that is Citus's as a
// local one, too, and does nothing if it is more than that already. Throws Citus's error, with a
// hint. REQUIRES: an open transaction; the table is there, empty.
Placed Distribute(const DistributionOption &option);

std::string JsonString(std::string_view text);

// The table as the options take it, a JSON string.
std::string OptionName(std::string_view schema, std::string_view table);

} // namespace livemigrate::stage
