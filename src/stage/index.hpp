// The indexes stage: the dump's post-data section as jobs that several workers run side by side.
//
// Phases (core/copy_task.hpp): indexes first, of each table as soon as it is complete, largest
// table first, several at a time, where primary keys and unique constraints are built as plain
// unique indexes, whose lock lets other indexes of the table be built meanwhile, and ANALYZE behind
// them; then everything else in dump order, the constraints taking over those indexes; then foreign
// keys NOT VALID, and their validation.
#pragma once

#include "core/copy_task.hpp"
#include "core/rearranged_tables.hpp"

#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace livemigrate::stage {

struct JobPlan {
    std::vector<SchemaJob> jobs;
    std::vector<std::string> notes;    // what was left out, and why
    std::vector<std::string> warnings; // the same, of what people may miss
};

// `sql` is the post-data section. `selects` says whether a table takes part: a foreign key to one
// that does not is left out. `without_rows` are (schema, table) of those that do, but whose rows
// are not copied: a foreign key to one is not validated. `publications` are ours on the source,
// left out too. `rearranged` are tables with other partitions on the target. `analyze` are the
// (schema, table) to analyze. REQUIRES: an open transaction.
JobPlan PlanJobs(const std::string &sql,
                 const std::function<bool(const std::string &, const std::string &)> &selects,
                 const std::set<std::pair<std::string, std::string>> &without_rows,
                 const std::vector<std::string> &publications, const RearrangedTables &rearranged,
                 const std::vector<std::pair<std::string, std::string>> &analyze);

// Runs one job inside the caller's open transaction. Repeatable: an index or constraint that is
// there already is left as it is.
//
// Returns what is to be told: of event triggers, publications and subscriptions that is left out
// which the role may not make, or which names a role that is not there.
std::string RunJob(const SchemaJob &job);

} // namespace livemigrate::stage
