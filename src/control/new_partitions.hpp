// Partitions whose rows go through the root: what is asked of the source about them.
#pragma once

#include "control/catalog.hpp"
#include "source/connection.hpp"

#include <string>

namespace livemigrate::control {

// Makes a partition that nobody knew of, or that has another name now, a table of the migration, if
// the rows of those beside it go through the root because that has other partitions on the target:
// so will its own. Returns whether it is one now. Throws Error where rows of it are not in the
// change stream, or could not be told from the others; and stage::UnclearPartition(), with
// `unclear` its OID on the source. REQUIRES: no transaction is open; the target has no such table.
bool AdoptPartition(const Migration &migration, const std::string &schema, const std::string &table,
                    uint32_t &unclear, const source::WaitObserver &observer);

// For the day when one of them is truncated alone. What comes from the source is run as SQL then,
// so it must be a plain comparison. REQUIRES: no transaction is open.
void KeepConditions(int32_t id, source::Connection &source,
                    const source::WaitObserver &observer = {});

} // namespace livemigrate::control
