// What a table of the source has that it cannot have on the target, where an extension keeps its
// rows (pg/table_manager): found before anything is copied.
#pragma once

#include "core/call_hint.hpp"

#include <string>

namespace livemigrate::stage {

struct TableProblem {
    std::string table; // "schema"."name"
    std::string message;
    // To be run on the target, while the migration is paused after stage schema; or on the source,
    // before a migration begins.
    std::string fix;
    bool at_source = false;
};

// The fix for somebody whose migration has begun.
inline std::string
LateFix(const TableProblem &problem) {
    return problem.at_source ? Comment("on the source, then start anew: " + problem.fix)
                             : problem.fix;
}

} // namespace livemigrate::stage
