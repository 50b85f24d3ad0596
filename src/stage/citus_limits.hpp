// What Citus refuses of the source's tables when it keeps them: each of these would otherwise fail
// behind the copy, where the dump's post-data section comes. Found by trying on Citus 13.0
// and 13.2.
#pragma once

#include "source/connection.hpp"
#include "stage/distribution.hpp"
#include "stage/table_problem.hpp"

#include <set>
#include <string>
#include <vector>

namespace livemigrate::stage {

// Foreign keys among the tables that Citus does not take: those of a distributed table lead to a
// colocated one, through both distribution columns, or to a reference table; and only those lead to
// a distributed one (Citus's manual, "Foreign keys"). Nor some of their actions. REQUIRES: an open
// transaction on the target.
std::vector<TableProblem> FindForeignKeyProblems(source::Connection &source,
                                                 const std::vector<PlacedTable> &tables);

// Triggers, exclusion constraints that do not compare the distribution column with =, CLUSTER ON,
// statistics of expressions where Citus does not take these, policies with subqueries. REQUIRES: an
// open transaction on the target.
std::vector<TableProblem> FindCitusLimits(source::Connection &source,
                                          const std::vector<PlacedTable> &tables);

// Distributed tables whose rows are found by a key of the source without the distribution column:
// the key that the target has may be another one. What is slow with that, no more. REQUIRES: an
// open transaction on the target.
std::vector<TableProblem> FindWideIdentities(source::Connection &source,
                                             const std::vector<PlacedTable> &tables);

// Those that the target has with all their rows in one shard: distributed without a column, or in a
// distributed schema (from Citus 12 on). REQUIRES: an open transaction on the target.
std::vector<TableProblem> FindSingleShards(const std::vector<PlacedTable> &tables);

// Empty unless Citus distributes each schema that is created, with its tables, and one of `schemas`
// is to be. REQUIRES: as above.
std::string SchemaShardingFix(const std::set<std::string> &schemas);

// Of the schemas those that the target has and Citus keeps on one node, with each table that is
// created there. REQUIRES: as above.
std::vector<std::string> DistributedSchemas(const std::set<std::string> &schemas);

} // namespace livemigrate::stage
