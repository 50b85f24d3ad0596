// Starting coordinators.
#pragma once

#include "pg/background_worker.hpp"

#include <cstdint>

namespace livemigrate::control {

// How the coordinator of a migration is registered. `role` InvalidOid: the one in the catalog.
pg::WorkerSpec CoordinatorSpec(uint32_t database, uint32_t role, int32_t migration);

} // namespace livemigrate::control
