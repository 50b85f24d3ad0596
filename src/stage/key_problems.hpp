// Keys of the source that tables cannot have on the target whose rows an extension places
// (pg/table_manager): found before anything is copied.
#pragma once

#include "pg/table_manager.hpp"
#include "source/connection.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace livemigrate::stage {

struct KeyProblem {
    std::string message;
    std::string fix; // to be run on the target while the migration is paused after stage schema
};

// Unique keys that lack a column by which rows are placed. `placement` are the columns that each
// unique index and exclusion constraint must have. A key is passed over if the target's table has a
// constraint or index of its name: somebody has seen to it. REQUIRES: an open transaction on the
// target.
std::vector<KeyProblem> FindKeyProblems(source::Connection &source, uint32_t source_oid,
                                        const std::string &schema, const std::string &table,
                                        const std::vector<std::string> &placement,
                                        pg::TableManager manager);

struct PlacedTable {
    uint32_t source_oid = 0;
    std::string schema;
    std::string table;
};

// Foreign keys among the tables that Citus does not take: those of a distributed table lead to a
// colocated one, through both distribution columns, or to a reference table; and only those lead to
// a distributed one (Citus's manual, "Foreign keys"). REQUIRES: an open transaction on the target,
// with Citus in its database.
std::vector<KeyProblem> FindForeignKeyProblems(source::Connection &source,
                                               const std::vector<PlacedTable> &tables);

} // namespace livemigrate::stage
