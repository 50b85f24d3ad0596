// migration_check, migration_start, migration_pause, migration_resume, set_endpos, copy_sequences.

#include "pg/prelude.hpp"

#include "api/arguments.hpp"
#include "api/cutover_ready.hpp"
#include "api/sql_function.hpp"
#include "api/migration_owner.hpp"
#include "api/named_migration.hpp"
#include "api/start_options.hpp"
#include "control/advisory_lock.hpp"
#include "control/apply_hold.hpp"
#include "control/apply_origins.hpp"
#include "control/catalog.hpp"
#include "control/check_record.hpp"
#include "control/commit_actions.hpp"
#include "control/shared_memory.hpp"
#include "control/table_selection.hpp"
#include "core/operator_text.hpp"
#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/sql_row.hpp"
#include "source/catalog_query.hpp"
#include "source/connection.hpp"
#include "stage/preflight.hpp"
#include "stage/sequences.hpp"

namespace livemigrate::api {

namespace {

using control::Migration;

[[noreturn]] void
ThrowWrongState(const Migration &migration, const std::string &what, const std::string &hint) {
    throw Error(sqlstate::kObjectNotInPrerequisiteState,
                "cannot " + what + " migration \"" + migration.settings.name + "\": it is " +
                    std::string(StateName(migration.state)))
        .Hint(control::NamedHint(migration.id, hint));
}

Datum
Check(FunctionCallInfo fcinfo) {
    const stage::PreflightResult result = stage::RunPreflight(ReadCheckSettings(fcinfo));
    std::vector<std::vector<pg::SqlValue>> rows;
    for (const stage::CheckRow &row : result.rows) {
        rows.push_back({row.check_id, row.severity,
                        row.object.empty() ? std::nullopt : pg::SqlValue(row.object), row.message,
                        row.fix.empty() ? std::nullopt : pg::SqlValue(row.fix)});
    }
    return ReturnRows(fcinfo, rows);
}

// Several migrations into one database may run when they take different tables, which the check of
// an empty target sees to; of one name there is one.
void
CheckNoOther(const MigrationSettings &settings) {
    const pg::SqlResult others = pg::Query("SELECT name, stage, state FROM livemigrate.migration "
                                           "WHERE state NOT IN ('done', 'aborted') ORDER BY id");
    for (const pg::SqlRow &row : others.rows) {
        const std::string name = pg::Text(row, 0);
        const std::string detail = "Migration \"" + name + "\" is " + pg::Text(row, 2) +
                                   " in stage " + pg::Text(row, 1) + ".";
        if (name == settings.name) {
            throw Error(sqlstate::kDuplicateObject,
                        "migration \"" + name + "\" exists already and has not ended")
                .Detail(detail)
                .Hint("SELECT livemigrate.migration_resume(" + QuoteLiteral(name) +
                      "); goes on with it, SELECT livemigrate.migration_abort(" +
                      QuoteLiteral(name) + "); ends it.");
        }
    }
}

Datum
Start(FunctionCallInfo fcinfo) {
    const StartRequest request = ReadStartRequest(fcinfo);
    CheckNoOther(request.settings);
    // An old snapshot would not see what others have created since.
    const TimestampTz checked_at = IsolationUsesXactSnapshot() ? 0 : GetCurrentTimestamp();
    const stage::PreflightResult result = stage::RunPreflight(request.settings);
    stage::ThrowOnErrors(result);
    for (const stage::CheckRow &row : result.rows) {
        if (row.severity == "warning") {
            Notice(row.message, row.fix);
        }
    }
    const int32_t id = control::InsertMigration(request.settings, request.options_json);
    control::RecordEvent(id, "info", Stage::kPreflight, "migration started", ByCaller());
    Migration migration;
    migration.id = id;
    control::RecordPreflight(migration, result);
    control::StartCoordinatorAtCommit(id, GetUserId(), checked_at);
    return ReturnName(request.settings.name);
}

Datum
Pause(FunctionCallInfo fcinfo) {
    Migration migration = LoadNamed(TextArgument(fcinfo, 0));
    if (migration.state == State::kPaused && migration.stage_ended && CoordinatorRuns(migration)) {
        // At a pause point changes are still being buffered: that ends, too.
        control::RequestPause(migration.id);
        return ReturnName(migration.settings.name);
    }
    if (!IsUnderWay(migration.state)) {
        ThrowWrongState(migration, "pause",
                        "SELECT stage, state, message, hint FROM livemigrate.migration_status();");
    }
    control::RecordEvent(migration.id, "info", migration.stage, "pause asked for", ByCaller());
    if (CoordinatorRuns(migration)) {
        control::RequestPause(migration.id);
        control::WakeCoordinatorAtCommit(migration.id, migration.dsm_handle);
    } else {
        control::TransitionTo(migration, State::kPaused);
        control::SetMessage(migration.id,
                            "paused in stage " + std::string(StageName(migration.stage)),
                            "SELECT livemigrate.migration_resume();");
    }
    return ReturnName(migration.settings.name);
}

// Throws Error 22023 for a stage that is behind: the migration would never pause there.
std::vector<Stage>
StagesAhead(const Migration &migration, const std::vector<std::string> &names) {
    std::vector<Stage> stages = ParseStages(names);
    for (const Stage stage : stages) {
        if (stage < migration.stage || (stage == migration.stage && migration.stage_ended)) {
            throw Error(sqlstate::kInvalidParameterValue,
                        "stage " + std::string(StageName(stage)) + " has ended already")
                .Hint("Stages ahead begin with " +
                      std::string(StageName(migration.stage_ended ? NextStage(migration.stage)
                                                                  : migration.stage)) +
                      ".");
        }
    }
    return stages;
}

// Whether or not this transaction commits: an attempt more harms nothing.
void
TryAgain(const Migration &migration) {
    if (const auto segment = control::SharedSegment::Attach(migration.dsm_handle, migration.id)) {
        segment->state().try_again.store(1);
    }
    control::TryPartsNow(migration.id);
    control::RecordEvent(migration.id, "info", migration.stage, "tried again at once", ByCaller());
}

Datum
Resume(FunctionCallInfo fcinfo) {
    const auto pause_after = TextArrayArgument(fcinfo, 1);
    Migration migration = LoadNamed(TextArgument(fcinfo, 0));
    if (HasEnded(migration.state)) {
        ThrowWrongState(migration, "resume",
                        "SELECT livemigrate.migration_start('host=... dbname=... user=...');");
    }
    if (pause_after) {
        control::SetPauseAfter(migration.id, StagesAhead(migration, *pause_after));
    }
    const bool runs = CoordinatorRuns(migration);
    if (runs && IsUnderWay(migration.state)) {
        if (migration.pause_requested) {
            control::ClearPauseRequest(migration.id);
        } else if (migration.state == State::kRetrying) {
            TryAgain(migration);
        } else if (!pause_after) {
            ThrowWrongState(migration, "resume",
                            "SELECT stage, state, message FROM livemigrate.migration_status();");
        }
        control::WakeCoordinatorAtCommit(migration.id, migration.dsm_handle);
        return ReturnName(migration.settings.name);
    }
    control::RecordEvent(migration.id, "info", migration.stage, "resumed", ByCaller());
    control::ClearPauseRequest(migration.id);
    control::ClearError(migration.id);
    control::AcceptPartitions(migration.id);
    control::ForgetPartErrors(migration.id);
    control::ForgetJobAttempts(migration.id);
    if (migration.state != State::kRunning) {
        control::TransitionTo(migration, State::kRunning);
    }
    control::SetMessage(migration.id, "resuming");
    // One that still holds the snapshot goes on; if it is just leaving, a new one takes over.
    control::WakeCoordinatorAtCommit(migration.id, migration.dsm_handle);
    control::StartCoordinatorAtCommit(migration.id, migration.owner);
    return ReturnName(migration.settings.name);
}

// What a prepared transaction does is in the change stream once it is committed, and that would be
// behind the endpos. Whoever gives a position may know better.
void
CheckNothingPrepared(source::Connection &source) {
    const pg::SqlResult prepared =
        source.Query("SELECT gid, database FROM pg_catalog.pg_prepared_xacts "
                     "WHERE database = pg_catalog.current_database() ORDER BY prepared, gid");
    if (prepared.rows.empty()) {
        return;
    }
    std::string names;
    std::string commands;
    for (const pg::SqlRow &row : prepared.rows) {
        const std::string gid = QuoteLiteral(pg::Text(row, 0));
        names += (names.empty() ? "" : ", ") + gid;
        commands += "COMMIT PREPARED " + gid + "; ";
    }
    throw Error(sqlstate::kObjectNotInPrerequisiteState,
                "the source has prepared transactions that are not committed")
        .Detail("They are: " + names + ". What they do would not be migrated.")
        .Hint("Run on the source, in database " + QuoteIdentifier(pg::Text(prepared.rows[0], 1)) +
              ": " + commands +
              "or ROLLBACK PREPARED, then set endpos again. A position that is given is taken as "
              "it is.");
}

// Everything committed on the source before the call lies before the position returned, and all
// that is applied before the transaction ends. The message makes the source's WAL go on beyond it,
// so that an idle source gets there, too.
Lsn
CurrentSourcePosition(const Migration &migration) {
    source::Connection source =
        source::Connection::Open(migration.settings.source, source::ConnectionKind::kSql);
    if (!migration.source_system_identifier.empty()) {
        source::CheckSameServer(
            source, migration.source_system_identifier,
            control::NamedHint(migration.id, "SELECT livemigrate.set_endpos();"));
    }
    CheckNothingPrepared(source);
    if (const std::optional<control::SharedSegment> segment =
            control::SharedSegment::Attach(migration.dsm_handle, migration.id)) {
        control::HoldForEndpos(segment->state().endpos_hold);
    }
    const pg::SqlResult result = source.Query("SELECT pg_catalog.pg_current_wal_insert_lsn()");
    source.Query("SELECT pg_catalog.pg_logical_emit_message(true, 'livemigrate', 'endpos')");
    return pg::Position(result.rows.at(0), 0);
}

// Of what is on the target already: a table that was copied under a later snapshot has it all.
Lsn
AppliedPosition(const Migration &migration) {
    if (migration.origin_name.empty()) {
        return Lsn{};
    }
    const control::OriginPositions origins =
        control::ReadOrigins(migration.origin_name, migration.settings.apply_jobs, false);
    return std::max(
        {origins.furthest, migration.snapshot_lsn, control::LatestSnapshot(migration.id)});
}

Datum
SetEndpos(FunctionCallInfo fcinfo) {
    const std::optional<Lsn> wanted = LsnArgument(fcinfo, 0);
    const bool force = RequiredBool(fcinfo, 2, "force");
    if (!force) {
        // Before the row is locked: it takes a while, and the migration goes on meanwhile.
        RefuseUnlessReady(FindNamed(TextArgument(fcinfo, 1)));
    }
    Migration migration = LoadNamed(TextArgument(fcinfo, 1));
    if (migration.state == State::kAborted) {
        ThrowWrongState(migration, "set endpos of",
                        "SELECT livemigrate.migration_start('host=... dbname=... user=...');");
    }
    if (migration.stage >= Stage::kCutover ||
        (migration.stage == Stage::kStreaming && migration.stage_ended)) {
        throw Error(sqlstate::kObjectNotInPrerequisiteState,
                    "endpos " + migration.endpos.ToString() + " is reached already")
            .Hint(control::NamedHint(migration.id, "CALL livemigrate.migration_wait();"));
    }
    const Lsn endpos = wanted ? *wanted : CurrentSourcePosition(migration);
    if (!endpos.valid()) {
        throw Error(sqlstate::kInvalidParameterValue, "endpos must not be 0/0");
    }
    const Lsn applied = AppliedPosition(migration);
    if (endpos < applied) {
        throw Error(sqlstate::kObjectNotInPrerequisiteState,
                    "endpos " + endpos.ToString() + " lies before what is applied")
            .Detail("Changes up to " + applied.ToString() + " are applied already.")
            .Hint(control::NamedHint(migration.id, "SELECT livemigrate.set_endpos();"));
    }
    control::SetEndpos(migration.id, endpos);
    control::RecordEvent(migration.id, "info", migration.stage,
                         "endpos set to " + endpos.ToString(), ByCaller());
    control::PublishEndposAtCommit(migration.id, migration.dsm_handle, endpos);
    control::WakeCoordinatorAtCommit(migration.id, migration.dsm_handle);
    return LSNGetDatum(endpos.value);
}

// Only what has stopped apply can be passed over, and only by its position, so that no other
// transaction is lost by a slip.
Datum
SkipTransaction(FunctionCallInfo fcinfo) {
    const Lsn lsn = RequiredLsn(fcinfo, 0, "lsn");
    const Migration migration = LoadNamed(TextArgument(fcinfo, 1));
    if (migration.state != State::kFailed) {
        ThrowWrongState(migration, "skip a transaction of",
                        "Only a transaction that has stopped apply can be skipped: SELECT * FROM "
                        "livemigrate.conflicts;");
    }
    const pg::SqlResult conflicts =
        pg::Query("SELECT DISTINCT end_lsn FROM livemigrate.conflict WHERE migration = $1::int "
                  "AND end_lsn IS NOT NULL AND resolution IS NULL AND at >= "
                  "(SELECT pg_catalog.max(at) FROM livemigrate.conflict WHERE migration = $1::int)",
                  {std::to_string(migration.id)});
    const Lsn stopped_at = conflicts.rows.empty() ? Lsn{} : pg::Position(conflicts.rows[0], 0);
    if (!stopped_at.valid() || lsn != stopped_at) {
        throw Error(sqlstate::kInvalidParameterValue,
                    lsn.ToString() + " is not the position of the transaction that stopped apply")
            .Detail(stopped_at.valid() ? "That one commits at " + stopped_at.ToString() + "."
                                       : "No transaction has stopped apply.")
            .Hint("SELECT end_lsn, schema_name, table_name, message FROM livemigrate.conflicts "
                  "ORDER BY at DESC LIMIT 1;");
    }
    control::InsertSkippedTransaction(migration.id, lsn);
    control::RecordEvent(migration.id, "warning", migration.stage,
                         "skipping the source transaction that commits at " + lsn.ToString() +
                             " was asked for",
                         ByCaller());
    Notice("the transaction will be skipped when the migration goes on",
           "SELECT livemigrate.migration_resume(" + QuoteLiteral(migration.settings.name) + ");");
    return LSNGetDatum(lsn.value);
}

Datum
CopySequences(FunctionCallInfo fcinfo) {
    const Migration migration = LoadNamed(TextArgument(fcinfo, 0), true);
    if (migration.state == State::kAborted) {
        ThrowWrongState(migration, "copy sequences of",
                        "SELECT livemigrate.migration_start('host=... dbname=... user=...');");
    }
    if (migration.stage < Stage::kSchema ||
        (migration.stage == Stage::kSchema && !migration.stage_ended)) {
        throw Error(sqlstate::kObjectNotInPrerequisiteState,
                    "the target's sequences do not exist yet")
            .Hint(control::NamedHint(migration.id, "CALL livemigrate.migration_wait('schema');"));
    }
    source::Connection source =
        source::Connection::Open(migration.settings.source, source::ConnectionKind::kSql);
    source::CheckSameServer(
        source, migration.source_system_identifier,
        control::NamedHint(migration.id, "SELECT livemigrate.copy_sequences();"));
    const TableFilter filter = control::FilterOf(migration.settings);
    const stage::SequenceReport report = stage::SetSequences(
        stage::ReadSequences(source, [&](const std::string &schema, const std::string &name) {
            return filter.Selects(schema, name);
        }));
    for (const std::string &warning : report.warnings) {
        pg::Call([&] { ereport(WARNING, (errmsg("%s", warning.c_str()))); });
    }
    control::RecordEvent(migration.id, "info", migration.stage,
                         Counted(static_cast<uint64_t>(report.set), "sequence") + " set",
                         ByCaller());
    return Int64GetDatum(static_cast<int64>(report.set));
}

} // namespace

} // namespace livemigrate::api

LIVEMIGRATE_FUNCTION(livemigrate_migration_check, Check)
LIVEMIGRATE_FUNCTION(livemigrate_migration_start, Start)
LIVEMIGRATE_FUNCTION(livemigrate_migration_pause, Pause)
LIVEMIGRATE_FUNCTION(livemigrate_migration_resume, Resume)
LIVEMIGRATE_FUNCTION(livemigrate_set_endpos, SetEndpos)
LIVEMIGRATE_FUNCTION(livemigrate_skip_transaction, SkipTransaction)
LIVEMIGRATE_FUNCTION(livemigrate_copy_sequences, CopySequences)
