// Registering and entering background workers.
#pragma once

#include "pg/prelude.hpp"

#include <cstdint>
#include <string>

namespace livemigrate::pg {

inline constexpr char kLibraryName[] = "livemigrate";

// What a worker is started with; travels in bgw_extra.
struct WorkerArguments {
    Oid database;
    Oid role;
    int32_t migration;
    uint32_t slot;              // index of the worker's place in the migration's shared state
    uint32_t generation;        // of that place, so that a late starter can tell it was replaced
    uint32_t dsm_handle;        // 0 for the coordinator, which makes the segment
    TransactionId wait_for_xid; // the coordinator starts when this transaction has ended
    TimestampTz checked_at;     // when migration_start began its check; 0: to be made again
};
static_assert(sizeof(WorkerArguments) <= BGW_EXTRALEN);

struct WorkerSpec {
    std::string name;     // shown in the server log and ps: "livemigrate copy worker for main"
    std::string type;     // pg_stat_activity.backend_type: "livemigrate copy worker"
    std::string function; // exported entry point
    int restart_seconds = BGW_NEVER_RESTART;
    WorkerArguments arguments = {};
};

// Registers a dynamic worker. False when all of max_worker_processes are taken. The handle, if
// asked for, is allocated in TopMemoryContext.
bool StartWorker(const WorkerSpec &spec, BackgroundWorkerHandle **handle);

// Registers the launcher; only from _PG_init under shared_preload_libraries.
void RegisterLauncher();

// What the process was started with; it need not be connected to a database for that.
WorkerArguments OwnArguments();

// The first steps of every worker's main function: signals (SIGTERM ends it at a safe point),
// database connection under the migration's role, session settings that make its work independent
// of role and database settings. Returns the arguments it was started with.
WorkerArguments EnterWorker();

// Settings every worker session pins: search_path, timeouts, formats, row_security.
void PinSessionSettings();

} // namespace livemigrate::pg
