// What TimescaleDB refuses of the source's tables that are hypertables on the target, besides their
// keys (key_problems.hpp). Found by trying on TimescaleDB 2.19.3, and from the release notes
// of 2.16 and 2.18.
#pragma once

#include "source/connection.hpp"
#include "stage/table_problem.hpp"

#include <cstdint>
#include <vector>

namespace livemigrate::stage {

struct HypertableSources {
    std::vector<uint32_t> hypertables; // OIDs of the source's tables that are or become hypertables
    std::vector<uint32_t> tables;      // of all tables that are migrated
    bool are_made = false;             // what creating one refuses has been seen to
};

// Rules, triggers, foreign keys and constraints that the dump's post-data section would add in
// vain; and unless the hypertables are made, also what create_hypertable() refuses: inheritance,
// constraints and unlogged tables. REQUIRES: an open transaction on the target.
std::vector<TableProblem> FindHypertableLimits(source::Connection &source,
                                               const HypertableSources &sources);

} // namespace livemigrate::stage
