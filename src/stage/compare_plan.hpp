// Which units a comparison of tables has.
#pragma once

#include "source/connection.hpp"
#include "stage/compare_image.hpp"
#include "stage/compare_unit.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace livemigrate::stage {

struct ComparisonPlan {
    std::vector<ComparisonUnit> units; // the largest first
    std::vector<std::string> details;  // for each table: why it is not equal whatever its rows are
};

// Conditions of units planned before, by schema and name: such a table is cut in the same way.
using KnownParts = std::map<std::pair<std::string, std::string>, std::vector<std::string>>;

// Columns are matched by name; the checksums cover the columns of both sides. A table larger than
// `range_bytes` is cut at values of its key's first column, out of the target's statistics, where
// that column is of a type that every server sorts alike and the rows lie in its order: else each
// range would read the whole table. Others are cut at pages, where both sides have a heap and the
// source is of version 14 at least: see ComparisonUnit.
// REQUIRES: an open transaction.
ComparisonPlan PlanComparison(source::Connection &source, const std::vector<ComparedTable> &tables,
                              uint64_t range_bytes, const KnownParts &known);

} // namespace livemigrate::stage
