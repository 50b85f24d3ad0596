// The columns of the source's tables, from its catalog: works on every source from 10 on.
#pragma once

#include "core/column_changes.hpp"
#include "source/connection.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace livemigrate::source {

// By the table's OID; each table's in the order of their numbers.
using ColumnsByTable = std::map<uint32_t, std::vector<SourceColumn>>;

// Of all user tables that hold rows. Generated columns are left out.
ColumnsByTable ListColumns(Connection &source, const WaitObserver &observer = {});

// Of one table; empty if there is none of that name. Generated columns are left out.
std::vector<ColumnDefinition> DescribeColumns(Connection &source, const std::string &schema,
                                              const std::string &table);

} // namespace livemigrate::source
