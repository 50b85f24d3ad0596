// Keys as plain unique indexes, whose lock lets other indexes of the table be built meanwhile, and
// the constraint that takes such an index over.
#pragma once

#include "pg/prelude.hpp"

#include <string>

namespace livemigrate::stage {

std::string UniqueIndexSql(const RangeVar *relation, const Constraint *constraint);

std::string UsingIndexSql(const RangeVar *relation, const Constraint *constraint);

} // namespace livemigrate::stage
