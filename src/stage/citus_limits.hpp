// What Citus refuses of the source's tables when it keeps them: each of these would otherwise fail
// behind the copy, where the dump's post-data section comes. Found by trying on Citus 13.0.
#pragma once

#include "source/connection.hpp"
#include "stage/distribution.hpp"
#include "stage/table_problem.hpp"

#include <vector>

namespace livemigrate::stage {

// Foreign keys among the tables that Citus does not take: those of a distributed table lead to a
// colocated one, through both distribution columns, or to a reference table; and only those lead to
// a distributed one (Citus's manual, "Foreign keys"). Nor some of their actions. REQUIRES: an open
// transaction on the target.
std::vector<TableProblem> FindForeignKeyProblems(source::Connection &source,
                                                 const std::vector<PlacedTable> &tables);

// Triggers, exclusion constraints that do not compare the distribution column with =, CLUSTER ON,
// statistics of expressions, policies with subqueries. REQUIRES: an open transaction on the target.
std::vector<TableProblem> FindCitusLimits(source::Connection &source,
                                          const std::vector<PlacedTable> &tables);

} // namespace livemigrate::stage
