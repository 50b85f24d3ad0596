// What a call asks for takes effect at commit: starting or waking a coordinator, publishing endpos;
// what it has stopped goes on at rollback.
#pragma once

#include "core/lsn.hpp"

#include <cstdint>

namespace livemigrate::control {

// Registers the coordinator just before the transaction commits; it begins its work when that is
// through. If the server has no free worker slot, the transaction fails with a hint. `checked_at`:
// when the check began, a TimestampTz, that was made for it just now; 0: none.
void StartCoordinatorAtCommit(int32_t migration, uint32_t owner, int64_t checked_at = 0);

// For who tells the coordinator to leave: should the transaction roll back, another one goes on
// with a migration that is under way, if the server has a free worker slot. Not below a savepoint.
void StartCoordinatorAtRollback(int32_t migration, uint32_t owner);

// Wakes the coordinator that runs, so that it looks at its requests.
void WakeCoordinatorAtCommit(int32_t migration, uint32_t dsm_handle);

// Publishes endpos to apply just before the commit. The transaction fails when apply has gone
// beyond it meanwhile.
void PublishEndposAtCommit(int32_t migration, uint32_t dsm_handle, Lsn endpos);

} // namespace livemigrate::control
