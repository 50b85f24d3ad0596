// Tables of the source that were copied, and in whose place another of their name has come since:
// dropped and made again, or renamed. The target has the rows of the old one, and the change stream
// has none of the new one's, or not those that it had before it was published, nor that the old
// one's are gone.
#pragma once

#include "core/copy_task.hpp"
#include "core/error.hpp"
#include "source/table_oids.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace livemigrate::control {

// Those among the migration's tables, but for partitions that go through their root (see
// stage/apply_routes) and those that are left out already.
std::vector<CopyTable> FindReplacedTables(const std::vector<CopyTable> &tables,
                                          const source::TableOids &now);

// Has the migration leave the table as it is from now on, with a warning event. REQUIRES: an open
// transaction.
void LeaveReplacedTableOut(int32_t migration, const CopyTable &table);

// What there is to say and to do, once they are left out.
Error TablesReplaced(const std::vector<CopyTable> &tables);

// At cutover: of those that were left out, and those of which nothing is on the source any more.
void WarnOfLostTables(const std::vector<CopyTable> &tables, const source::TableOids &now,
                      std::vector<std::string> &warnings);

} // namespace livemigrate::control
