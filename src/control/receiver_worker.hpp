// The receiver as a worker of a migration: what stage/receive needs of the catalog, and where it
// shows how far it is.
#pragma once

#include "pg/prelude.hpp"

#include "control/catalog.hpp"
#include "core/shared_state.hpp"

namespace livemigrate::control {

// Runs until the connection or the spool fails (Error) or the process is told to end.
[[noreturn]] void RunReceiver(SharedState &state, WorkerSlot &slot, Oid database,
                              const Migration &migration);

} // namespace livemigrate::control
