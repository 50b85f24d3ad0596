// TimescaleDB's background jobs on the target: retention, compression, refreshes. While a migration
// runs they would work on half-copied data, so they are paused until it is done.
#pragma once

#include <cstdint>

namespace livemigrate::control {

// Pauses every job of the database that is scheduled, and keeps a note of it; of one that belongs
// to a role whose rights the session has not, an event warns. With `stop_scheduler`, and as
// superuser, TimescaleDB's scheduler for this database is stopped as well, so that a policy that is
// added meanwhile does not run before it is seen here. Returns false where there is no TimescaleDB.
// Runs transactions of its own.
bool PausePolicyJobs(int32_t migration, bool stop_scheduler);

// For a migration that ends with the open transaction. If it is the last, schedules the jobs again
// that any has paused, as far as it may; otherwise an event tells what they wait for. Starts the
// scheduler, at the transaction's end, unless a superuser's migration is left. Until then other
// migrations that want to pause or end wait.
void ResumePolicyJobs(int32_t migration);

} // namespace livemigrate::control
