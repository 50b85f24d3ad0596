#include "control/catalog.hpp"

#include "control/distribution_options.hpp"
#include "control/hypertable_options.hpp"
#include "core/call_hint.hpp"
#include "core/conninfo.hpp"
#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"
#include "pg/subtransaction.hpp"

namespace livemigrate::control {

namespace {

using pg::BoolText;
using pg::Flag;
using pg::Number;
using pg::Position;
using pg::Query;
using pg::SqlResult;
using pg::SqlValue;
using pg::Text;
using Row = pg::SqlRow;

SqlValue
OrNull(const std::string &text) {
    return text.empty() ? std::nullopt : SqlValue(text);
}

SqlValue
OrNull(Lsn lsn) {
    return lsn.valid() ? SqlValue(lsn.ToString()) : std::nullopt;
}

std::vector<std::string>
StageNames(const std::vector<Stage> &stages) {
    std::vector<std::string> names;
    for (const Stage stage : stages) {
        names.emplace_back(StageName(stage));
    }
    return names;
}

// text[] columns are read one element a row, so that no array text is parsed here.
std::vector<std::string>
LoadArray(int32_t id, const char *column) {
    const SqlResult result =
        Query(std::string("SELECT e FROM livemigrate.migration m, pg_catalog.unnest(m.") + column +
                  ") WITH ORDINALITY AS u(e, n) WHERE m.id = $1::int ORDER BY n",
              {std::to_string(id)});
    std::vector<std::string> elements;
    for (const Row &row : result.rows) {
        elements.push_back(Text(row, 0));
    }
    return elements;
}

OnExisting
ParseOnExisting(const std::string &text) {
    if (text == "truncate") {
        return OnExisting::kTruncate;
    }
    return text == "skip_schema" ? OnExisting::kSkipSchema : OnExisting::kError;
}

const char *
OnExistingName(OnExisting on_existing) {
    switch (on_existing) {
    case OnExisting::kTruncate:
        return "truncate";
    case OnExisting::kSkipSchema:
        return "skip_schema";
    case OnExisting::kError:
        break;
    }
    return "error";
}

void
LoadOptions(int32_t id, MigrationSettings &settings) {
    const SqlResult result =
        Query("SELECT options->>'apply_jobs', options->>'existing_slot', options->>'publication', "
              "options->>'database_settings', options->>'unlogged', "
              "options->>'allow_downgrade', options, options->>'tablespaces', "
              "(EXTRACT(epoch FROM (options->>'slot_timeout')::interval) * 1000)::bigint "
              "FROM livemigrate.migration WHERE id = $1::int",
              {std::to_string(id)});
    const Row &row = result.rows.at(0);
    if (row[0]) {
        settings.apply_jobs = Number<int>(row, 0);
    }
    settings.existing_slot = row[1];
    settings.publication = row[2];
    settings.database_settings = Text(row, 3) == "true";
    settings.unlogged = Text(row, 4) != "false";
    settings.allow_downgrade = Text(row, 5) == "true";
    settings.tablespaces = Text(row, 7) == "true";
    if (row[8]) {
        settings.slot_timeout = std::chrono::milliseconds(Number<int64_t>(row, 8));
    }
    const SqlResult accepted = Query(
        "SELECT e FROM livemigrate.migration m, "
        "pg_catalog.jsonb_array_elements_text(m.options->'insert_only_tables') WITH ORDINALITY "
        "AS u(e, n) WHERE m.id = $1::int ORDER BY n",
        {std::to_string(id)});
    for (const Row &element : accepted.rows) {
        settings.insert_only_tables.push_back(Text(element, 0));
    }
    settings.hypertables = ReadHypertables(Text(row, 6));
    settings.distributions = ReadDistributions(Text(row, 6));
}

void
LoadSettings(int32_t id, MigrationSettings &settings) {
    const SqlResult result =
        Query("SELECT name, source, requested_plugin, table_jobs, index_jobs, split_bytes, roles, "
              "restore_owner, restore_privileges, on_existing, include_tables IS NOT NULL "
              "FROM livemigrate.migration WHERE id = $1::int",
              {std::to_string(id)});
    const Row &row = result.rows.at(0);
    settings.name = Text(row, 0);
    settings.source = Text(row, 1);
    settings.requested_plugin = Text(row, 2);
    settings.table_jobs = Number<int>(row, 3);
    settings.index_jobs = Number<int>(row, 4);
    settings.split_bytes = Number<uint64_t>(row, 5);
    settings.roles = Flag(row, 6);
    settings.owner = Flag(row, 7);
    settings.privileges = Flag(row, 8);
    settings.on_existing = ParseOnExisting(Text(row, 9));
    if (Flag(row, 10)) {
        settings.include_tables = LoadArray(id, "include_tables");
    }
    settings.exclude_tables = LoadArray(id, "exclude_tables");
    settings.exclude_table_data = LoadArray(id, "exclude_table_data");
    settings.pause_after = ParseStages(LoadArray(id, "pause_after"));
    LoadOptions(id, settings);
}

void
Update(int32_t id, const std::string &assignments, std::vector<SqlValue> parameters) {
    parameters.insert(parameters.begin(), std::to_string(id));
    Query("UPDATE livemigrate.migration SET " + assignments + " WHERE id = $1::int", parameters);
}

} // namespace

int32_t
InsertMigration(const MigrationSettings &settings, const std::string &options_json) {
    const SqlResult result = Query(
        "INSERT INTO livemigrate.migration (name, owner, source, source_redacted, "
        "requested_plugin, pause_after, table_jobs, index_jobs, "
        "split_bytes, include_tables, exclude_tables, exclude_table_data, roles, restore_owner, "
        "restore_privileges, on_existing, options, message) VALUES ($1::name, "
        "(SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user), $2, $3, $4, "
        "$5::text[], $6::int, $7::int, $8::bigint, $9::text[], $10::text[], $11::text[], "
        "$12::boolean, $13::boolean, $14::boolean, $15, $16::jsonb, $17) "
        "RETURNING id",
        {settings.name, settings.source, RedactConninfo(settings.source), settings.requested_plugin,
         TextArrayLiteral(StageNames(settings.pause_after)), std::to_string(settings.table_jobs),
         std::to_string(settings.index_jobs), std::to_string(settings.split_bytes),
         settings.include_tables ? SqlValue(TextArrayLiteral(*settings.include_tables))
                                 : std::nullopt,
         TextArrayLiteral(settings.exclude_tables), TextArrayLiteral(settings.exclude_table_data),
         BoolText(settings.roles), BoolText(settings.owner), BoolText(settings.privileges),
         OnExistingName(settings.on_existing), options_json, "waiting for its coordinator"});
    return Number<int32_t>(result.rows.at(0), 0);
}

std::optional<Migration>
LoadMigration(int32_t id, bool lock) {
    const SqlResult result = Query(
        std::string("SELECT id, owner, stage, stage_ended, state, requested_state IS NOT NULL, "
                    "attempts, cleaned_up_at IS NOT NULL, plugin, wal2json_numeric_option, "
                    "source_system_identifier, source_version, source_encoding, slot_name, "
                    "slot_created, publications_created, origin_name, snapshot_lsn, "
                    "snapshot_name, endpos, spool_token, dsm_handle, schema_restored, "
                    "publications_as_of, source_timeline, source_timeline_began, slot_sent, "
                    "publications_sent, source_recovery_mark "
                    "FROM livemigrate.migration WHERE id = $1::int") +
            (lock ? " FOR UPDATE" : ""),
        {std::to_string(id)});
    if (result.rows.empty()) {
        return std::nullopt;
    }
    const Row &row = result.rows[0];
    Migration migration;
    migration.id = Number<int32_t>(row, 0);
    migration.owner = Number<uint32_t>(row, 1);
    migration.stage = ParseStage(Text(row, 2));
    migration.stage_ended = Flag(row, 3);
    migration.state = ParseState(Text(row, 4));
    migration.pause_requested = Flag(row, 5);
    migration.attempts = Number<int>(row, 6);
    migration.cleaned_up = Flag(row, 7);
    if (row[8]) {
        migration.plugin = ParsePlugin(*row[8]);
    }
    migration.wal2json_numeric_option = Flag(row, 9);
    migration.source_system_identifier = Text(row, 10);
    migration.source_version = Number<int>(row, 11);
    migration.source_encoding = Text(row, 12);
    migration.slot_name = Text(row, 13);
    migration.slot_created = Flag(row, 14);
    migration.publications_created = Flag(row, 15);
    migration.origin_name = Text(row, 16);
    migration.snapshot_lsn = Position(row, 17);
    migration.snapshot_name = Text(row, 18);
    migration.endpos = Position(row, 19);
    migration.spool_token = Text(row, 20);
    migration.dsm_handle = Number<uint32_t>(row, 21);
    migration.schema_restored = Flag(row, 22);
    migration.publications_as_of = Text(row, 23);
    migration.source_timeline = Number<uint32_t>(row, 24);
    migration.source_timeline_began = Position(row, 25);
    migration.slot_sent = Flag(row, 26);
    migration.publications_sent = Flag(row, 27);
    migration.source_recovery_mark = Text(row, 28);
    migration.publications = LoadArray(id, "publications");
    LoadSettings(id, migration.settings);
    return migration;
}

int32_t
ResolveMigration(const std::optional<std::string> &name, bool ended_too) {
    if (name) {
        const SqlResult result = Query("SELECT id FROM livemigrate.migration WHERE name = $1::name "
                                       "ORDER BY state IN ('done', 'aborted'), id DESC LIMIT 1",
                                       {*name});
        if (result.rows.empty()) {
            throw Error(sqlstate::kUndefinedObject, "migration \"" + *name + "\" does not exist")
                .Hint("SELECT migration, stage, state FROM livemigrate.migrations;");
        }
        return Number<int32_t>(result.rows[0], 0);
    }
    const SqlResult active = Query("SELECT id, name FROM livemigrate.migration "
                                   "WHERE state NOT IN ('done', 'aborted') ORDER BY id");
    if (active.rows.size() == 1) {
        return Number<int32_t>(active.rows[0], 0);
    }
    if (active.rows.size() > 1) {
        std::string names;
        for (const Row &row : active.rows) {
            names += (names.empty() ? "" : ", ") + Text(row, 1);
        }
        throw Error(sqlstate::kInvalidParameterValue, "several migrations have not ended")
            .Detail("They are: " + names + ".")
            .Hint("Give the name of the one you mean, for example: migration => " +
                  QuoteLiteral(Text(active.rows[0], 1)));
    }
    if (ended_too) {
        const SqlResult ended = Query("SELECT id FROM livemigrate.migration "
                                      "ORDER BY cleaned_up_at IS NOT NULL, id DESC LIMIT 1");
        if (!ended.rows.empty()) {
            return Number<int32_t>(ended.rows[0], 0);
        }
    }
    throw Error(sqlstate::kUndefinedObject,
                ended_too ? "there is no migration" : "there is no migration that has not ended")
        .Hint("Start one: SELECT livemigrate.migration_start('host=... dbname=... user=...');");
}

void
TransitionTo(Migration &migration, State state) {
    if (migration.state == state) {
        return;
    }
    if (!CanTransition(migration.state, state)) {
        throw Error(sqlstate::kObjectNotInPrerequisiteState,
                    "migration \"" + migration.settings.name + "\" is " +
                        std::string(StateName(migration.state)) + " and cannot become " +
                        std::string(StateName(state)));
    }
    Update(migration.id,
           HasEnded(state) ? "state = $2, ended_at = pg_catalog.clock_timestamp()" : "state = $2",
           {std::string(StateName(state))});
    RecordEvent(migration.id, state == State::kFailed ? "error" : "info", migration.stage,
                "state is now " + std::string(StateName(state)));
    migration.state = state;
}

void
EnterStage(Migration &migration, Stage stage) {
    Update(migration.id,
           "stage = $2, stage_ended = false, attempts = 0, next_attempt_at = NULL, "
           "stage_started_at = pg_catalog.clock_timestamp()",
           {std::string(StageName(stage))});
    migration.stage = stage;
    migration.stage_ended = false;
    migration.attempts = 0;
    if (stage != Stage::kDone) { // nothing is done there: the state says it
        RecordEvent(migration.id, "info", stage,
                    "stage " + std::string(StageName(stage)) + " begins");
    }
}

void
MarkStageEnded(Migration &migration) {
    Update(migration.id, "stage_ended = true", {});
    migration.stage_ended = true;
    RecordEvent(migration.id, "info", migration.stage,
                "stage " + std::string(StageName(migration.stage)) + " has ended");
}

// One of another name than the default may soon not be alone, and hints are kept.
std::string
NamedHint(int32_t id, const std::string &hint) {
    if (hint.find('(') == std::string::npos) {
        return hint;
    }
    const SqlResult named =
        Query("SELECT m.name FROM livemigrate.migration m WHERE m.id = $1::int AND "
              "(m.name <> 'main' OR EXISTS (SELECT FROM livemigrate.migration o "
              "WHERE o.id <> m.id AND o.state NOT IN ('done', 'aborted')))",
              {std::to_string(id)});
    return named.rows.empty() ? hint : NameMigrationInCalls(hint, Text(named.rows[0], 0));
}

void
SetMessage(int32_t id, const std::string &message, const std::string &hint) {
    Update(id, "message = $2, hint = $3", {message, OrNull(NamedHint(id, hint))});
}

// What a person is to do about an error that stops the migration.
std::string
HintToResume(const Error &error) {
    const bool on_source = error.message().rfind("source: ", 0) == 0;
    if (error.sqlstate() == sqlstate::kDiskFull) {
        return std::string("Make room on the disk of the ") + (on_source ? "source" : "target") +
               ", then run: SELECT livemigrate.migration_resume();";
    }
    return error.hint().empty()
               ? "Remove the cause, then run: SELECT livemigrate.migration_resume();"
               : error.hint();
}

void
RecordError(int32_t id, const Error &error, int attempts,
            std::optional<int64_t> retry_in_milliseconds) {
    const std::string hint = retry_in_milliseconds ? error.hint() : HintToResume(error);
    Update(
        id,
        "last_error = $2, last_error_sqlstate = $3, last_error_detail = $4, "
        "attempts = $5::int, message = $2, hint = $6, next_attempt_at = "
        "pg_catalog.clock_timestamp() + $7::bigint * interval '1 millisecond'",
        {error.message(), error.sqlstate(), OrNull(error.DetailWithContext()),
         std::to_string(attempts), OrNull(NamedHint(id, hint)),
         retry_in_milliseconds ? SqlValue(std::to_string(*retry_in_milliseconds)) : std::nullopt});
}

void
ClearError(int32_t id) {
    Update(id, "attempts = 0, next_attempt_at = NULL, hint = NULL", {});
}

void
RequestPause(int32_t id) {
    Update(id, "requested_state = 'paused'", {});
}

void
ClearPauseRequest(int32_t id) {
    Update(id, "requested_state = NULL", {});
}

void
SetPauseAfter(int32_t id, const std::vector<Stage> &stages) {
    Update(id, "pause_after = $2::text[]", {TextArrayLiteral(StageNames(stages))});
}

void
SetDsmHandle(int32_t id, std::optional<uint32_t> handle) {
    Update(id, "dsm_handle = $2::bigint",
           {handle ? SqlValue(std::to_string(*handle)) : std::nullopt});
}

void
CountCoordinatorStart(int32_t id) {
    Update(id, "coordinator_starts = coordinator_starts + 1", {});
}

void
SetEndpos(int32_t id, Lsn endpos) {
    Update(id, "endpos = $2::pg_lsn", {OrNull(endpos)});
}

void
SetSlotPlan(const Migration &migration) {
    Update(migration.id,
           "slot_name = $2::name, slot_created = $3::boolean, publications = $4::text[], "
           "publications_created = $5::boolean, origin_name = $6, slot_sent = $7::boolean, "
           "publications_sent = $8::boolean",
           {OrNull(migration.slot_name), BoolText(migration.slot_created),
            TextArrayLiteral(migration.publications), BoolText(migration.publications_created),
            OrNull(migration.origin_name), BoolText(migration.slot_sent),
            BoolText(migration.publications_sent)});
}

void
SetPublicationsAsOf(int32_t id, const std::string &xid) {
    Update(id, "publications_as_of = $2", {OrNull(xid)});
}

void
SetSourceIdentity(const Migration &migration) {
    Update(migration.id,
           "source_system_identifier = $2, source_version = $3::int, source_encoding = $4, "
           "plugin = $5, wal2json_numeric_option = $6::boolean, source_database = $7, "
           "source_timeline = $8::int, source_recovery_mark = $9",
           {migration.source_system_identifier, std::to_string(migration.source_version),
            migration.source_encoding,
            migration.plugin ? SqlValue(std::string(PluginName(*migration.plugin))) : std::nullopt,
            BoolText(migration.wal2json_numeric_option), migration.source_database,
            std::to_string(migration.source_timeline), OrNull(migration.source_recovery_mark)});
}

bool
HasSlotPlan(int32_t id) {
    return Query("SELECT slot_name IS NOT NULL FROM livemigrate.migration WHERE id = $1::int",
                 {std::to_string(id)})
               .Scalar() == "t";
}

void
SetSourceTimeline(int32_t id, uint32_t timeline, Lsn began) {
    Update(id, "source_timeline = $2::int, source_timeline_began = $3::pg_lsn",
           {std::to_string(timeline), began.valid() ? SqlValue(began.ToString()) : std::nullopt});
}

void
SetSnapshot(int32_t id, Lsn lsn, const std::string &snapshot_name) {
    Update(id, "snapshot_lsn = COALESCE($2::pg_lsn, snapshot_lsn), snapshot_name = $3",
           {OrNull(lsn), OrNull(snapshot_name)});
}

void
MarkSchemaRestored(int32_t id) {
    Update(id, "schema_restored = true", {});
}

void
SetSpoolToken(int32_t id, const std::string &token) {
    Update(id, "spool_token = $2", {token});
}

void
MarkCleanedUp(int32_t id) {
    Update(id, "cleaned_up_at = COALESCE(cleaned_up_at, pg_catalog.clock_timestamp()), hint = NULL",
           {});
}

KeptCounters
LoadCounters(int32_t id) {
    const SqlResult result =
        Query("SELECT source_lsn, received_lsn, flushed_lsn, transactions_applied, "
              "changes_applied, changes_skipped FROM livemigrate.migration WHERE id = $1::int",
              {std::to_string(id)});
    const Row &row = result.rows.at(0);
    return {Position(row, 0).value,   Position(row, 1).value,   Position(row, 2).value,
            Number<uint64_t>(row, 3), Number<uint64_t>(row, 4), Number<uint64_t>(row, 5)};
}

void
KeepCounters(int32_t id, const KeptCounters &counters) {
    Update(id,
           "source_lsn = $2::pg_lsn, received_lsn = $3::pg_lsn, flushed_lsn = $4::pg_lsn, "
           "transactions_applied = $5::bigint, changes_applied = $6::bigint, "
           "changes_skipped = $7::bigint",
           {OrNull(Lsn{counters.source_lsn}), OrNull(Lsn{counters.received_lsn}),
            OrNull(Lsn{counters.flushed_lsn}), std::to_string(counters.transactions_applied),
            std::to_string(counters.changes_applied), std::to_string(counters.changes_skipped)});
}

void
RecordEvent(int32_t id, const char *severity, Stage stage, const std::string &message,
            const std::string &detail) {
    try {
        pg::Subtransaction attempt;
        Query("INSERT INTO livemigrate.event (migration, severity, stage, message, detail) "
              "VALUES ($1::int, $2, $3, $4, $5)",
              {std::to_string(id), std::string(severity), std::string(StageName(stage)), message,
               OrNull(detail)});
        attempt.Commit();
    } catch (const Error &error) {
        if (error.sqlstate() != sqlstate::kDiskFull) {
            throw;
        }
        ereport(LOG, (errmsg("livemigrate: an event of migration %d was not kept: %s", id,
                             error.message().c_str()),
                      errdetail("%s: %s", severity, message.c_str())));
    }
    // Listeners get at commit what they need to decide whether to look; a payload is at most 8 kB.
    Query("SELECT pg_catalog.pg_notify('livemigrate', pg_catalog.json_build_object("
          "'migration', m.name, 'severity', $2::text, 'stage', $3::text, 'state', m.state, "
          "'message', pg_catalog.left($4::text, 500))::text) "
          "FROM livemigrate.migration m WHERE m.id = $1::int",
          {std::to_string(id), std::string(severity), std::string(StageName(stage)), message});
}

std::set<Lsn>
LoadSkippedTransactions(int32_t id) {
    const SqlResult result = Query("SELECT commit_lsn FROM livemigrate.skipped_transaction "
                                   "WHERE migration = $1::int",
                                   {std::to_string(id)});
    std::set<Lsn> skipped;
    for (const Row &row : result.rows) {
        skipped.insert(Position(row, 0));
    }
    return skipped;
}

void
InsertSkippedTransaction(int32_t id, Lsn commit_lsn) {
    Query("INSERT INTO livemigrate.skipped_transaction (migration, commit_lsn) "
          "VALUES ($1::int, $2::pg_lsn) ON CONFLICT DO NOTHING",
          {std::to_string(id), commit_lsn.ToString()});
}

void
RecordSkippedTransaction(int32_t id, Lsn commit_lsn, uint64_t changes) {
    const std::vector<pg::SqlValue> which = {std::to_string(id), commit_lsn.ToString()};
    Query("UPDATE livemigrate.skipped_transaction SET skipped_at = pg_catalog.clock_timestamp(), "
          "changes = COALESCE(changes, 0) + $3::bigint WHERE migration = $1::int AND commit_lsn = "
          "$2::pg_lsn",
          {which[0], which[1], std::to_string(changes)});
    Query("UPDATE livemigrate.conflict SET resolution = 'skipped' "
          "WHERE migration = $1::int AND end_lsn = $2::pg_lsn",
          which);
    if (changes == 0) {
        return; // of several apply workers, one that has no share in it
    }
    const SqlResult migration =
        Query("SELECT stage FROM livemigrate.migration WHERE id = $1::int", {which[0]});
    RecordEvent(id, "warning", ParseStage(Text(migration.rows.at(0), 0)),
                "source transaction that commits at " + commit_lsn.ToString() + " was skipped",
                "As skip_transaction() asked for; it had " + std::to_string(changes) +
                    " changes, which the target lacks.");
}

} // namespace livemigrate::control
