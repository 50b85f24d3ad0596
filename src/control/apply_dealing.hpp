// How the changes of each table are dealt to several apply workers (core/apply_share): decided from
// the target's tables and kept in livemigrate.table_copy, because all workers, and all runs of them
// until they have come to the same position, must go by the same.
#pragma once

#include "core/apply_share.hpp"

#include <cstdint>

namespace livemigrate::control {

Dealings LoadDealings(int32_t migration);

// As the target's tables are now: by key where nothing but the replica identity's key can bring two
// rows into conflict and its values are equal exactly if their text is; else by table. All tables
// go to the first worker where triggers or rules fire in replica role, since these may look at
// other tables.
Dealings DecideDealings(int32_t migration);

void StoreDealings(int32_t migration, const Dealings &dealings);

} // namespace livemigrate::control
