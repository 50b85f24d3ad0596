// Columns of the target that cannot have every value of the source's, by their type or since the
// source generates them: of tables that were there already, or that somebody changed while a
// migration was paused after stage schema.
#pragma once

#include "core/type_fit.hpp"
#include "source/connection.hpp"

#include <string>
#include <utility>
#include <vector>

namespace livemigrate::stage {

struct ColumnTypeProblem {
    TypeFit::Kind kind = TypeFit::Kind::kDoubtful; // never kHolds
    std::string table;                             // "schema"."name"
    std::string message;
    std::string fix; // to be run on the target
};

// Of the tables, by schema and name. Columns by name; what the target lacks or generates is passed
// over. One for all partitions that have a column from the same table.
// REQUIRES: an open transaction.
std::vector<ColumnTypeProblem>
FindColumnTypeProblems(source::Connection &source,
                       const std::vector<std::pair<std::string, std::string>> &tables);

} // namespace livemigrate::stage
