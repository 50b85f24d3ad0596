// The process of a coordinator: one at a time works on a migration, and while it is under way there
// is one.

#include "pg/prelude.hpp"

#include "control/advisory_lock.hpp"
#include "control/coordinator.hpp"
#include "control/launcher.hpp"
#include "control/version_check.hpp"
#include "pg/background_worker.hpp"
#include "pg/guard.hpp"
#include "pg/transaction.hpp"
#include "pg/wait.hpp"

#include <csignal>

namespace {

using namespace livemigrate;
using namespace livemigrate::control;

constexpr std::chrono::milliseconds kTakeoverPause{100};

// However the coordinator ends, its workers must not go on without it.
void
EndWorkers(int, Datum argument) {
    auto *state = reinterpret_cast<SharedState *>(DatumGetPointer(argument));
    state->coordinator_pid.store(0);
    for (WorkerSlot &slot : state->workers) {
        const pid_t pid = slot.pid.load();
        if (pid != 0) {
            kill(pid, SIGTERM);
        }
    }
}

// Workers of a predecessor have been told to end: wait until they have.
void
WaitForOldWorkers(int32_t migration) {
    pg::Transaction transaction;
    Acquire(migration, LockClass::kWorkers, LockStrength::kExclusive);
    Release(migration, LockClass::kWorkers, LockStrength::kExclusive);
    transaction.Commit();
}

// Nothing when it was never committed, or the extension is gone.
std::optional<Migration>
FindMigration(int32_t id) {
    pg::Transaction transaction;
    const bool installed =
        pg::Query("SELECT pg_catalog.to_regclass('livemigrate.migration') IS NOT NULL").Scalar() ==
        "t";
    std::optional<Migration> migration = installed ? LoadMigration(id) : std::nullopt;
    transaction.Commit();
    return migration;
}

// Whether the coordinator that is there has yet to look at the state for the last time: it does so
// behind the commit that takes its segment out of the row, unless it was told to stop.
bool
WillLookAgain(const Migration &migration) {
    pg::Transaction transaction;
    const std::optional<SharedSegment> segment =
        SharedSegment::Attach(migration.dsm_handle, migration.id);
    const bool looks = segment && segment->state().coordinator_pid.load() != 0 &&
                       segment->state().stop.load() == 0;
    transaction.Commit();
    return looks;
}

// One coordinator per migration. One that is about to leave is waited for, for as long as that
// takes: nobody else would go on. False: there is nothing to do, or it will be done.
bool
TakeOver(int32_t migration) {
    for (;;) {
        {
            pg::Transaction transaction;
            const bool taken =
                TryAcquire(migration, LockClass::kCoordinator, LockStrength::kExclusive);
            transaction.Commit();
            if (taken) {
                return true;
            }
        }
        const std::optional<Migration> found =
            VersionFits(migration) ? FindMigration(migration) : std::nullopt;
        if (!found || !IsUnderWay(found->state) || WillLookAgain(*found)) {
            return false;
        }
        pg::SleepOnLatch(kTakeoverPause);
    }
}

// False when it was told to leave.
bool
Coordinate(const Migration &migration, int64_t checked_at) {
    WaitForOldWorkers(migration.id);
    // However this ends, EndWorkers() writes to it.
    auto *segment = new SharedSegment(SharedSegment::Create(migration.id));
    SharedState &state = segment->state();
    state.coordinator_pid.store(MyProcPid);
    pg::Call([&] { before_shmem_exit(EndWorkers, PointerGetDatum(&state)); });
    const bool looks_again = Coordinator(*segment, migration, checked_at).Run();
    EndWorkers(0, PointerGetDatum(&state));
    pg::Call([&] { cancel_before_shmem_exit(EndWorkers, PointerGetDatum(&state)); });
    delete segment;
    return looks_again;
}

void
CoordinatorMain(const pg::WorkerArguments &arguments) {
    if (TransactionIdIsValid(arguments.wait_for_xid)) {
        pg::Transaction transaction;
        pg::Call([&] { XactLockTableWait(arguments.wait_for_xid, nullptr, nullptr, XLTW_None); });
        transaction.Commit();
    }
    // One that leaves for that is not started again by the postmaster, but by migration_resume().
    if (!VersionFits(arguments.migration)) {
        return;
    }
    std::optional<Migration> migration = FindMigration(arguments.migration);
    if (migration && !OidIsValid(arguments.role)) {
        // Started by the launcher, which cannot read the owner: hand over to one with its role.
        pg::WorkerSpec spec = CoordinatorSpec(MyDatabaseId, migration->owner, migration->id);
        if (IsUnderWay(migration->state) && !pg::StartWorker(spec, nullptr)) {
            throw Error(sqlstate::kConfigurationLimitExceeded, "no free background worker slot");
        }
        return;
    }
    if (!TakeOver(arguments.migration) || !VersionFits(arguments.migration)) {
        return;
    }
    migration = FindMigration(arguments.migration);
    if (!migration) {
        WorkDirectory(MyDatabaseId, arguments.migration).Remove();
        return;
    }
    int64_t checked_at = arguments.checked_at;
    while (migration && IsUnderWay(migration->state) && Coordinate(*migration, checked_at)) {
        // It may have been resumed while the last workers ended: see TakeOver().
        migration = FindMigration(arguments.migration);
        checked_at = 0;
    }
}

} // namespace

extern "C" {
PGDLLEXPORT void livemigrate_coordinator_main(Datum argument);
}

void
livemigrate_coordinator_main(Datum) {
    pg::Entry([] {
        // One that cannot connect to its database ends there, and would be started again for ever.
        const pg::WorkerArguments arguments = pg::OwnArguments();
        if (DatabaseHasFiles(arguments.database)) {
            CoordinatorMain(pg::EnterWorker());
            return;
        }
        ereport(LOG,
                (errmsg("livemigrate: the coordinator of migration %d leaves: its database was "
                        "dropped",
                        arguments.migration)));
        WorkDirectory(arguments.database, arguments.migration).Remove();
    });
    // A normal end: the postmaster forgets the worker instead of starting it again.
    proc_exit(0);
}
