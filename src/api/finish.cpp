// migration_abort and migration_cleanup.

#include "pg/prelude.hpp"

#include "api/arguments.hpp"
#include "api/migration_owner.hpp"
#include "api/named_migration.hpp"
#include "api/sql_function.hpp"
#include "control/apply_origins.hpp"
#include "control/advisory_lock.hpp"
#include "control/catalog.hpp"
#include "control/commit_actions.hpp"
#include "control/policy_jobs.hpp"
#include "control/shared_memory.hpp"
#include "control/source_leftovers.hpp"
#include "control/work_directory.hpp"
#include "core/sql_text.hpp"
#include "pg/wait.hpp"
#include "source/catalog_query.hpp"
#include "source/connection.hpp"

#include <csignal>
#include <vector>

namespace livemigrate::api {

namespace {

using control::LockClass;
using control::LockStrength;
using control::Migration;

// How to get through to a coordinator in the middle of a long statement, which does not see the
// request.
enum class Urgency { kAsk, kCancelStatement, kTerminate };

// Asks the coordinator that runs to leave.
void
AskToStop(int32_t id, Urgency urgency) {
    const std::optional<Migration> migration = control::LoadMigration(id);
    if (!migration || migration->dsm_handle == 0) {
        return;
    }
    if (const auto segment = control::SharedSegment::Attach(migration->dsm_handle, id)) {
        segment->state().stop.store(1);
        const pid_t coordinator = segment->state().coordinator_pid.load();
        pg::WakeProcess(coordinator);
        if (urgency != Urgency::kAsk && coordinator != 0) {
            kill(coordinator, urgency == Urgency::kTerminate ? SIGTERM : SIGINT);
        }
    }
}

// Makes the coordinator leave and keeps others out until the end of the transaction. Before the
// migration's row is locked: the coordinator may want that to finish what it is doing. One that was
// waiting to take over may do so meanwhile, hence the loop.
void
StopCoordinator(int32_t id) {
    constexpr int kPatience = 40; // attempts
    for (int attempt = 0;; attempt++) {
        Urgency urgency = Urgency::kAsk;
        if (attempt != 0 && attempt % kPatience == 0) {
            urgency = attempt == kPatience ? Urgency::kCancelStatement : Urgency::kTerminate;
        }
        AskToStop(id, urgency);
        if (control::TryAcquire(id, LockClass::kCoordinator, LockStrength::kExclusive)) {
            break;
        }
        pg::SleepOnLatch(std::chrono::milliseconds(50));
    }
    control::AcquireForTransaction(id, LockClass::kCoordinator, LockStrength::kExclusive);
    control::Release(id, LockClass::kCoordinator, LockStrength::kExclusive);
    control::AcquireForTransaction(id, LockClass::kWorkers, LockStrength::kExclusive);
}

// A name may lead to another server by now, to the target already, say, or to a standby: neither
// has anything to remove, which is not to be taken for success.
void
CheckIsTheSource(source::Connection &source, const Migration &migration) {
    if (!migration.source_system_identifier.empty()) {
        source::CheckSameServer(source, migration.source_system_identifier);
    }
    if (source.Query("SELECT pg_catalog.pg_is_in_recovery()").Scalar() == "t") {
        throw Error(sqlstate::kObjectNotInPrerequisiteState, "the source is a standby");
    }
}

// True when nothing is left on the source. Otherwise says what to run there.
bool
CleanSource(const Migration &migration) {
    const std::vector<std::string> statements = control::RemovalStatements(migration);
    if (statements.empty()) {
        return true;
    }
    try {
        source::Connection source =
            source::Connection::Open(migration.settings.source, source::ConnectionKind::kSql);
        CheckIsTheSource(source, migration);
        control::RemoveLeftovers(source, migration);
        return true;
    } catch (const Error &error) {
        if (error.sqlstate() == sqlstate::kQueryCanceled) {
            throw;
        }
        std::string sql;
        for (const std::string &statement : statements) {
            sql += (sql.empty() ? "" : " ") + statement + ";";
        }
        const std::string hint =
            control::NamedHint(migration.id,
                               "Run on the source, or call migration_cleanup() again later: ") +
            sql;
        const std::string reason = error.MessageWithDetail();
        Notice("could not clean up the source: " + reason, hint);
        control::SetMessage(migration.id, "the source is not cleaned up: " + reason, hint);
        control::RecordEvent(migration.id, "warning", migration.stage,
                             "could not clean up the source: " + reason, sql);
        return false;
    }
}

void
CleanTarget(const Migration &migration) {
    if (!migration.origin_name.empty()) {
        control::DropOrigins(migration);
    }
    control::WorkDirectory(MyDatabaseId, migration.id).Remove();
    control::SetDsmHandle(migration.id, std::nullopt);
}

void
CleanUp(const Migration &migration) {
    if (migration.cleaned_up) {
        return;
    }
    const bool source_clean = CleanSource(migration);
    if (!migration.slot_created && !migration.slot_name.empty()) {
        Notice("replication slot \"" + migration.slot_name +
                   "\" was there before the migration and is left on the source",
               "When it is not needed any more, run on the source: SELECT "
               "pg_drop_replication_slot(" +
                   QuoteLiteral(migration.slot_name) + ");");
    }
    CleanTarget(migration);
    if (source_clean) {
        control::MarkCleanedUp(migration.id);
        control::RecordEvent(migration.id, "info", migration.stage, "cleaned up", ByCaller());
    }
}

Migration
LoadExisting(int32_t id, bool lock) {
    std::optional<Migration> found = control::LoadMigration(id, lock);
    if (!found) {
        throw Error(sqlstate::kUndefinedObject, "the migration does not exist any more");
    }
    return std::move(*found);
}

Datum
Abort(FunctionCallInfo fcinfo) {
    if (pg::Call([] { return IsTransactionBlock(); })) {
        throw Error(sqlstate::kInvalidTransactionState,
                    "migration_abort cannot run inside a transaction block")
            .Detail("It drops the slot and removes files, which a ROLLBACK would not bring back.")
            .Hint("COMMIT; SELECT livemigrate.migration_abort();");
    }
    const int32_t id = control::ResolveMigration(TextArgument(fcinfo, 0), true);
    Migration migration = LoadExisting(id, false);
    RequireOwner(migration);
    control::StartCoordinatorAtRollback(id, migration.owner);
    StopCoordinator(id);
    migration = LoadExisting(id, true);
    if (migration.state == State::kDone) {
        throw Error(sqlstate::kObjectNotInPrerequisiteState,
                    "migration \"" + migration.settings.name + "\" is done")
            .Hint(control::NamedHint(id, "SELECT livemigrate.migration_cleanup();"));
    }
    const bool ends_now = migration.state != State::kAborted;
    if (ends_now) {
        control::TransitionTo(migration, State::kAborted);
        control::RecordEvent(id, "info", migration.stage, "aborted", ByCaller());
        control::KeepWork(id, std::pair(control::SumTables(id), control::SumJobs(id)));
        control::SetMessage(id, "aborted in stage " + std::string(StageName(migration.stage)));
    }
    CleanUp(migration);
    if (ends_now) {
        control::ResumePolicyJobs(id); // last: others wait for it until the transaction's end
    }
    return ReturnName(migration.settings.name);
}

Datum
Cleanup(FunctionCallInfo fcinfo) {
    const int32_t id = control::ResolveMigration(TextArgument(fcinfo, 0), true);
    Migration migration = LoadExisting(id, false);
    RequireOwner(migration);
    if (!HasEnded(migration.state)) {
        throw Error(sqlstate::kObjectNotInPrerequisiteState,
                    "migration \"" + migration.settings.name + "\" has not ended: it is " +
                        std::string(StateName(migration.state)))
            .Hint(control::NamedHint(migration.id,
                                     "CALL livemigrate.migration_wait(); or, to give it up: SELECT "
                                     "livemigrate.migration_abort();"));
    }
    // The coordinator marks the migration done, writes its last figures to the row and leaves; its
    // last workers may be on their way. Hence the row is locked behind that.
    control::AcquireForTransaction(id, LockClass::kCoordinator, LockStrength::kExclusive);
    control::AcquireForTransaction(id, LockClass::kWorkers, LockStrength::kExclusive);
    migration = LoadExisting(id, true);
    CleanUp(migration);
    return ReturnName(migration.settings.name);
}

} // namespace

} // namespace livemigrate::api

LIVEMIGRATE_FUNCTION(livemigrate_migration_abort, Abort)
LIVEMIGRATE_FUNCTION(livemigrate_migration_cleanup, Cleanup)
