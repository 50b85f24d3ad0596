// What the files of the catalog that deal with parts share.
#pragma once

#include "core/copy_task.hpp"
#include "pg/sql_row.hpp"

#include <string>

namespace livemigrate::control {

// Rows of copy_part, with their tables, as TaskOf() reads them. `parts` names the relation they are
// in, with an alias of its own if it needs one.
std::string SelectTasks(const std::string &parts);
CopyTask TaskOf(int32_t migration, const pg::SqlRow &row);

// Parts are planned anew under a new snapshot, but how often they failed is still true.
void SetAttemptsAside(int32_t migration);
void TakeOverAttempts(int32_t migration);

} // namespace livemigrate::control
