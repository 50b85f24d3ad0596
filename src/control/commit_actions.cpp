#include "pg/prelude.hpp"

#include "control/commit_actions.hpp"

#include "control/apply_hold.hpp"
#include "control/catalog.hpp"
#include "control/launcher.hpp"
#include "control/shared_memory.hpp"
#include "control/work_directory.hpp"
#include "core/apply_progress.hpp"
#include "pg/background_worker.hpp"
#include "pg/guard.hpp"
#include "pg/wait.hpp"

#include <vector>

namespace livemigrate::control {

namespace {

// Coordinator, receiver, and the jobs of a migration by default.
constexpr int kRoomForMigration = 6;

struct Action {
    enum class Kind { kStart, kWake, kEndpos, kGoOn } kind;
    int32_t migration;
    uint32_t owner;
    uint32_t dsm_handle;
    Lsn endpos;
    int32_t wake_pid = 0; // found before the commit: nothing may fail behind it
    int64_t checked_at = 0;
    SubTransactionId subtransaction = InvalidSubTransactionId; // that it was asked for in
    CommandId command = 0;                                     // and up to which command
};

// Of the current transaction; made when first needed, since there are no file-scope constructors.
std::vector<Action> *pending = nullptr;

void
Start(const Action &action) {
    WorkDirectory(MyDatabaseId, action.migration).Create();
    pg::WorkerSpec spec = CoordinatorSpec(MyDatabaseId, action.owner, action.migration);
    spec.arguments.wait_for_xid = GetTopTransactionIdIfAny();
    // What the transaction has written since then, the check has not seen.
    spec.arguments.checked_at =
        GetCurrentCommandId(false) == action.command ? action.checked_at : 0;
    if (!pg::StartWorker(spec, nullptr)) {
        throw Error(sqlstate::kConfigurationLimitExceeded,
                    "the server has no free background worker slot for the coordinator")
            .Detail("All of max_worker_processes are taken.")
            .Hint("Try again when others have ended, or run: ALTER SYSTEM SET "
                  "max_worker_processes = " +
                  std::to_string(max_worker_processes + kRoomForMigration) +
                  "; -- then restart the target");
    }
}

void
Publish(const Action &action) {
    std::optional<SharedSegment> segment =
        SharedSegment::Attach(action.dsm_handle, action.migration);
    if (!segment) {
        return; // nothing runs: the coordinator will read the catalog
    }
    SharedState &state = segment->state();
    const uint64_t before = state.endpos.exchange(action.endpos.value);
    // Announced commits count: see SharedState::endpos.
    if (const uint64_t furthest = FurthestCommit(state); furthest > action.endpos.value) {
        state.endpos.store(before);
        throw Error(sqlstate::kObjectNotInPrerequisiteState,
                    "endpos " + action.endpos.ToString() + " lies before what is applied")
            .Detail("Changes up to " + Lsn{furthest}.ToString() + " are applied already.")
            .Hint(NamedHint(action.migration, "SELECT livemigrate.set_endpos();"));
    }
    EndHoldForEndpos(state.endpos_hold);
    WakeApply(state);
}

void
FindCoordinator(Action &action) {
    if (const std::optional<SharedSegment> segment =
            SharedSegment::Attach(action.dsm_handle, action.migration)) {
        action.wake_pid = segment->state().coordinator_pid.load();
    }
}

void
RunBeforeCommit() {
    for (Action &action : *pending) {
        switch (action.kind) {
        case Action::Kind::kStart:
            Start(action);
            break;
        case Action::Kind::kEndpos:
            Publish(action);
            break;
        case Action::Kind::kWake:
            FindCoordinator(action);
            break;
        case Action::Kind::kGoOn:
            break;
        }
    }
}

// A coordinator that is not woken looks at its requests by itself a moment later, so nothing is
// lost where this cannot be done.
void
RunAfterCommit() {
    for (const Action &action : *pending) {
        if (PGPROC *process = BackendPidGetProc(action.wake_pid)) {
            SetLatch(&process->procLatch);
        }
    }
}

// What is rolled back cannot fail: without a free worker slot it is left to migration_resume().
void
GoOn(const Action &action) {
    if (!pg::StartWorker(CoordinatorSpec(MyDatabaseId, action.owner, action.migration), nullptr)) {
        ereport(LOG, (errmsg("livemigrate: the server has no free background worker slot for the "
                             "coordinator of migration %d",
                             action.migration),
                      errhint("Run: SELECT livemigrate.migration_resume();")));
    }
}

void
RunAfterRollback() {
    for (const Action &action : *pending) {
        if (action.kind == Action::Kind::kGoOn) {
            GoOn(action);
        }
    }
}

void
AtTransactionEvent(XactEvent event, void *) {
    if (pending == nullptr || pending->empty()) {
        return;
    }
    switch (event) {
    case XACT_EVENT_PRE_COMMIT:
        pg::Entry(RunBeforeCommit);
        break;
    case XACT_EVENT_PRE_PREPARE:
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("cannot prepare a transaction that has called livemigrate")));
        break;
    case XACT_EVENT_COMMIT:
        RunAfterCommit();
        pending->clear();
        break;
    case XACT_EVENT_ABORT:
        pg::Entry(RunAfterRollback);
        pending->clear();
        break;
    default:
        break;
    }
}

// What was asked for behind a savepoint goes with it.
void
AtSubtransactionEvent(SubXactEvent event, SubTransactionId own, SubTransactionId parent, void *) {
    if (pending == nullptr) {
        return;
    }
    if (event == SUBXACT_EVENT_ABORT_SUB) {
        std::erase_if(*pending, [&](const Action &action) { return action.subtransaction == own; });
    } else if (event == SUBXACT_EVENT_COMMIT_SUB) {
        for (Action &action : *pending) {
            action.subtransaction = action.subtransaction == own ? parent : action.subtransaction;
        }
    }
}

void
Add(Action action) {
    if (pending == nullptr) {
        pending = new std::vector<Action>();
        pg::Call([] {
            RegisterXactCallback(AtTransactionEvent, nullptr);
            RegisterSubXactCallback(AtSubtransactionEvent, nullptr);
        });
    }
    action.subtransaction = GetCurrentSubTransactionId();
    action.command = GetCurrentCommandId(false);
    pending->push_back(action);
}

} // namespace

void
StartCoordinatorAtCommit(int32_t migration, uint32_t owner, int64_t checked_at) {
    Action action{Action::Kind::kStart, migration, owner, 0, {}};
    action.checked_at = checked_at;
    Add(action);
}

void
StartCoordinatorAtRollback(int32_t migration, uint32_t owner) {
    Add({Action::Kind::kGoOn, migration, owner, 0, {}});
}

void
WakeCoordinatorAtCommit(int32_t migration, uint32_t dsm_handle) {
    Add({Action::Kind::kWake, migration, 0, dsm_handle, {}});
}

void
PublishEndposAtCommit(int32_t migration, uint32_t dsm_handle, Lsn endpos) {
    Add({Action::Kind::kEndpos, migration, 0, dsm_handle, endpos});
}

} // namespace livemigrate::control
