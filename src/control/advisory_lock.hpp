// Locks that keep processes of one migration apart, or migrations of one database, in a key space
// of our own: no SQL function can take them.
#pragma once

#include "pg/prelude.hpp"

namespace livemigrate::control {

enum class LockClass : uint32 {
    kCoordinator = 1, // exclusive: the one coordinator, or a session that ends the migration
    kClaims = 3,      // exclusive: a worker that takes a job
    kWorkers = 2,     // shared: every worker; exclusive: the coordinator, to see the old ones gone
    kPolicyJobs = 4,  // exclusive, of kAllMigrations: who pauses TimescaleDB's jobs or resumes them
};

// In place of a migration.
inline constexpr int32 kAllMigrations = 0;

enum class LockStrength { kShared, kExclusive };

// Held until the session ends or Release. Waiting can be interrupted.
void Acquire(int32 migration, LockClass lock, LockStrength strength);
bool TryAcquire(int32 migration, LockClass lock, LockStrength strength);
void Release(int32 migration, LockClass lock, LockStrength strength);

// Until the end of the transaction.
void AcquireForTransaction(int32 migration, LockClass lock, LockStrength strength);

} // namespace livemigrate::control
