// Tables that become hypertables on the target: making them, and finding what of the source's keys
// cannot be there.
#pragma once

#include "core/hypertable_option.hpp"
#include "source/connection.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace livemigrate::stage {

// Calls create_hypertable() for each. REQUIRES: an open transaction; the tables are there, empty.
void CreateHypertables(const std::vector<HypertableOption> &options);

// A unique key of a source's table that its hypertable cannot have, since it lacks a column by
// which TimescaleDB places rows.
struct KeyProblem {
    std::string message;
    std::string fix; // to be run on the target while the migration is paused after stage schema
};

// `placement` are the columns that each unique index and exclusion constraint must have. A key is
// passed over if the target's table has a constraint or index of its name: somebody has seen to it.
// REQUIRES: an open transaction on the target.
std::vector<KeyProblem> FindKeyProblems(source::Connection &source, uint32_t source_oid,
                                        const std::string &schema, const std::string &table,
                                        const std::vector<std::string> &placement);

// Tells continuous aggregates that all of what they read may have changed, where they learn of
// changes by triggers (TimescaleDB before 2.23), which do not fire in replica role. What was
// summed up meanwhile is then summed up anew by the next refresh of that time. Returns a warning
// for what could not be done. REQUIRES: an open transaction.
std::vector<std::string> InvalidateAggregates();

} // namespace livemigrate::stage
