// The launcher, with shared_preload_libraries only: after a restart of the target it starts the
// coordinator of every migration that has a work directory. Whether there is anything to do, the
// coordinator finds out.

#include "pg/prelude.hpp"

#include "control/launcher.hpp"
#include "control/work_directory.hpp"
#include "pg/background_worker.hpp"
#include "pg/guard.hpp"
#include "pg/transaction.hpp"
#include "pg/wait.hpp"

#include <chrono>
#include <vector>

extern "C" {
#include "utils/syscache.h"
}

namespace livemigrate::control {

pg::WorkerSpec
CoordinatorSpec(uint32_t database, uint32_t role, int32_t migration) {
    pg::WorkerSpec spec;
    spec.type = "livemigrate coordinator";
    spec.name = spec.type + " for migration " + std::to_string(migration);
    spec.function = "livemigrate_coordinator_main";
    // After a crash of the server the postmaster starts it again by itself, preload or not.
    spec.restart_seconds = 1;
    spec.arguments.database = database;
    spec.arguments.role = role;
    spec.arguments.migration = migration;
    return spec;
}

namespace {

constexpr std::chrono::seconds kRetryInterval{5};

// What is left of a database that was dropped would make its coordinator fail again and again.
std::vector<UnfinishedMigration>
MigrationsOfDatabases() {
    std::vector<UnfinishedMigration> migrations = ListWorkDirectories();
    std::erase_if(migrations, [](const UnfinishedMigration &migration) {
        pg::Transaction transaction;
        const bool exists = pg::Call([&] {
            return SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(migration.database));
        });
        transaction.Commit();
        if (!exists) {
            ereport(LOG, (errmsg("livemigrate: migration %d belongs to a database that does not "
                                 "exist any more, OID %u",
                                 migration.migration, migration.database),
                          errhint("Drop its slot on the source.")));
            RemoveWorkDirectories(migration.database);
        }
        return !exists;
    });
    return migrations;
}

void
RunLauncher() {
    std::vector<UnfinishedMigration> waiting = MigrationsOfDatabases();
    while (!waiting.empty()) {
        std::vector<UnfinishedMigration> later;
        for (const UnfinishedMigration &migration : waiting) {
            // The role is in the migration's row: the coordinator starts as the bootstrap
            // superuser and takes it on as soon as it has read that.
            const pg::WorkerSpec spec =
                CoordinatorSpec(migration.database, InvalidOid, migration.migration);
            if (!pg::StartWorker(spec, nullptr)) {
                later.push_back(migration);
            }
        }
        waiting = std::move(later);
        if (!waiting.empty()) {
            pg::SleepOnLatch(kRetryInterval); // all of max_worker_processes are taken
        }
    }
}

} // namespace

} // namespace livemigrate::control

extern "C" {
PGDLLEXPORT void livemigrate_launcher_main(Datum argument);
}

void
livemigrate_launcher_main(Datum) {
    pqsignal(SIGHUP, SignalHandlerForConfigReload);
    pqsignal(SIGTERM, die);
    BackgroundWorkerUnblockSignals();
    livemigrate::pg::Entry([] {
        livemigrate::pg::Call([] { BackgroundWorkerInitializeConnection(nullptr, nullptr, 0); });
        livemigrate::control::RunLauncher();
    });
    // Its work is done once every coordinator is started.
    proc_exit(0);
}
