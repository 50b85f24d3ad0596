// Unique keys of the source that tables cannot have on the target whose rows an extension places.
#pragma once

#include "pg/table_manager.hpp"
#include "source/connection.hpp"
#include "stage/table_problem.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace livemigrate::stage {

// Unique keys that lack a column by which rows are placed. `placement` are the columns that each
// unique index and exclusion constraint must have. A key is passed over if the target's table has a
// constraint or index of its name: somebody has seen to it. REQUIRES: an open transaction on the
// target.
std::vector<TableProblem> FindKeyProblems(source::Connection &source, uint32_t source_oid,
                                          const std::string &schema, const std::string &table,
                                          const std::vector<std::string> &placement,
                                          pg::TableManager manager);

// Whether the target's table has an index, or a constraint that rests on one, of this name.
bool TargetHasKey(const std::string &schema, const std::string &table, const std::string &name);

} // namespace livemigrate::stage
