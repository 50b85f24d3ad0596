// What an apply worker does once it is attached to the migration's shared memory.
#pragma once

#include "control/catalog.hpp"
#include "core/shared_state.hpp"

#include <cstdint>

namespace livemigrate::control {

// Applies the share of the slot's member. Returns when endpos is reached; throws Error otherwise,
// and has recorded a conflict if it was one.
void RunApplyWorker(const Migration &migration, uint32_t database, SharedState &state,
                    WorkerSlot &slot);

} // namespace livemigrate::control
