#include "pg/background_worker.hpp"

#include "pg/guard.hpp"
#include "pg/spi.hpp"
#include "pg/transaction.hpp"

#include <cstring>

namespace livemigrate::pg {

namespace {

void
Fill(BackgroundWorker &worker, const WorkerSpec &spec) {
    memset(&worker, 0, sizeof(worker));
    strlcpy(worker.bgw_name, spec.name.c_str(), BGW_MAXLEN);
    strlcpy(worker.bgw_type, spec.type.c_str(), BGW_MAXLEN);
    worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
    worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
    worker.bgw_restart_time = spec.restart_seconds;
    strlcpy(worker.bgw_library_name, kLibraryName, sizeof(worker.bgw_library_name));
    strlcpy(worker.bgw_function_name, spec.function.c_str(), sizeof(worker.bgw_function_name));
    memcpy(worker.bgw_extra, &spec.arguments, sizeof(spec.arguments));
    worker.bgw_notify_pid = MyProcPid;
}

} // namespace

bool
StartWorker(const WorkerSpec &spec, BackgroundWorkerHandle **handle) {
    BackgroundWorker worker;
    Fill(worker, spec);
    return Call([&] {
        const MemoryContext outer = MemoryContextSwitchTo(TopMemoryContext);
        const bool registered = RegisterDynamicBackgroundWorker(&worker, handle);
        MemoryContextSwitchTo(outer);
        return registered;
    });
}

void
RegisterLauncher() {
    BackgroundWorker worker;
    Fill(worker, {.name = "livemigrate launcher",
                  .type = "livemigrate launcher",
                  .function = "livemigrate_launcher_main",
                  .restart_seconds = 5});
    worker.bgw_notify_pid = 0;
    RegisterBackgroundWorker(&worker);
}

WorkerArguments
OwnArguments() {
    WorkerArguments arguments;
    memcpy(&arguments, MyBgworkerEntry->bgw_extra, sizeof(arguments));
    return arguments;
}

WorkerArguments
EnterWorker() {
    const WorkerArguments arguments = OwnArguments();
    // die, not bgworker_die: it is served at a safe point, so that transactions end in order.
    pqsignal(SIGHUP, SignalHandlerForConfigReload);
    pqsignal(SIGTERM, die);
    BackgroundWorkerUnblockSignals();
    Call([&] {
        BackgroundWorkerInitializeConnectionByOid(arguments.database, arguments.role, 0);
        SetConfigOption("application_name", "livemigrate", PGC_USERSET, PGC_S_SESSION);
        pgstat_report_appname("livemigrate");
    });
    PinSessionSettings();
    return arguments;
}

void
PinSessionSettings() {
    Transaction transaction;
    SetConfig("search_path", "");
    SetConfig("client_encoding", GetDatabaseEncodingName()); // receive functions convert from it
    SetConfig("statement_timeout", "0");
    SetConfig("lock_timeout", "0");
    SetConfig("idle_in_transaction_session_timeout", "0");
    if (HasTransactionTimeout()) {
        SetConfig("transaction_timeout", "0");
    }
    SetConfig("default_transaction_read_only", "off");
    SetConfig("default_transaction_isolation", "read committed");
    SetConfig("row_security", "off");
    SetConfig("DateStyle", "ISO, MDY");
    SetConfig("IntervalStyle", "postgres");
    SetConfig("bytea_output", "hex");
    SetConfig("extra_float_digits", "3");
    SetConfig("TimeZone", "UTC");
    SetConfig("lc_monetary", "C");
    SetConfig("xmloption", "content");
    SetConfig("jit", "off");
    SetConfig("array_nulls", "on");
    SetConfig("transform_null_equals", "off");
    SetConfig("standard_conforming_strings", "on");
    SetConfig("backslash_quote", "safe_encoding");
    SetConfig("default_transaction_deferrable", "off");
    SetConfig("check_function_bodies", "off");
    if (synchronous_commit == SYNCHRONOUS_COMMIT_OFF) {
        SetConfig("synchronous_commit", "local"); // what must be known after a crash
    }
    transaction.Commit();
}

} // namespace livemigrate::pg
