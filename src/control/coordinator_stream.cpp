// Stages catchup, streaming and cutover.

#include "pg/prelude.hpp"

#include "control/coordinator.hpp"

#include "control/check_record.hpp"
#include "control/replaced_tables.hpp"
#include "control/table_selection.hpp"
#include "core/apply_progress.hpp"
#include "core/operator_text.hpp"
#include "core/replay_lag.hpp"
#include "core/retry_policy.hpp"
#include "core/sql_text.hpp"
#include "pg/guc.hpp"
#include "pg/sql_row.hpp"
#include "pg/transaction.hpp"
#include "pg/wait.hpp"
#include "stage/cutover.hpp"
#include "stage/hypertable.hpp"
#include "stage/sequences.hpp"

#include <algorithm>
#include <set>

namespace livemigrate::control {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

namespace {

constexpr milliseconds kPollInterval{1000};
// How long one may take, and the rest after one that brought nothing.
constexpr std::chrono::seconds kMostPollTime{5};
constexpr milliseconds kPollRest{15000};

// A session that has become idle reports what it counted after ten seconds at the latest
// (PGSTAT_IDLE_INTERVAL; before version 15 when it goes on or ends).
constexpr milliseconds kMostReportTime{11000};
constexpr milliseconds kReportPoll{200};
// Of any kind that writes, and NULL for what a role without pg_read_all_stats is not shown. Only
// autovacuum has no role.
constexpr char kSessionsThatMayReport[] =
    "SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE a.state IS NULL), "
    "pg_catalog.array_to_string((pg_catalog.array_agg(a.pid || ' of ' || a.usename "
    "ORDER BY a.pid))[1:3], ', ') FROM pg_catalog.pg_stat_activity a "
    "WHERE a.datname = pg_catalog.current_database() AND a.usesysid IS NOT NULL "
    "AND a.application_name <> 'livemigrate' "
    "AND a.pid NOT IN (SELECT r.pid FROM pg_catalog.pg_stat_replication r) "
    "AND (a.state IS DISTINCT FROM 'idle' "
    "OR a.state_change > pg_catalog.clock_timestamp() - interval '10.5 seconds')";

// Without a usable identity, and streamed.
bool
IsInsertOnly(const CopyTable &table) {
    return !table.identity_usable && table.copy_data && table.persistence == 'p';
}

// Returns false if it has been recorded before.
bool
RecordOnce(int32_t migration, const std::string &kind, const stage::RelationName &table,
           const std::string &message) {
    return pg::Query("INSERT INTO livemigrate.conflict (migration, kind, schema_name, table_name, "
                     "message) SELECT $1::int, $2, $3::name, $4::name, $5 WHERE NOT EXISTS ("
                     "SELECT FROM livemigrate.conflict c WHERE c.migration = $1::int "
                     "AND c.kind = $2 AND c.schema_name = $3::name AND c.table_name = $4::name)",
                     {std::to_string(migration), kind, table.first, table.second, message})
               .processed > 0;
}

// Behind foreign keys that were put off, before event triggers.
constexpr int kLastDeferredPhase = 19;

std::string
DescribeLag(milliseconds lag) {
    if (lag < std::chrono::seconds(10)) {
        return std::to_string(lag.count()) + " ms";
    }
    return std::to_string(lag.count() / 1000) + " s";
}

} // namespace

// Where the source writes now; the walsender only tells what it has decoded.
void
Coordinator::PollSource(bool takes_requests) {
    if (Clock::now() < next_poll_) {
        return;
    }
    next_poll_ = Clock::now() + kPollInterval;
    // A source that is stopped keeps its connections and answers nothing: pauses, aborts and what
    // is shown must not wait for it.
    const auto meanwhile = [&] {
        if (state_.stop.load() != 0) {
            throw StopRequested();
        }
        if (takes_requests) {
            CheckRequests();
        }
    };
    // Only a figure for the eye: the receiver's own connection says what is wrong.
    bool is_known = false;
    try {
        is_known = !monitor_.Ask(kMostPollTime, meanwhile,
                                 [&](source::Connection &source, const auto &observer) {
                                     ReadSourceFigures(source, observer);
                                 });
    } catch (const Error &) {
    }
    if (!is_known) {
        next_poll_ = Clock::now() + kPollRest;
    }
}

void
Coordinator::ReadSourceFigures(source::Connection &source, const source::WaitObserver &observer) {
    // safe_wal_size came with 13.
    const std::string safe = source.server_version() >= 130000 ? "s.safe_wal_size" : "NULL::bigint";
    const pg::SqlResult now = source.Query(
        "SELECT p.lsn, pg_catalog.pg_wal_lsn_diff(p.lsn, s.restart_lsn)::bigint, " + safe +
            ", pg_catalog.age(s.catalog_xmin) FROM (SELECT CASE WHEN "
            "pg_catalog.pg_is_in_recovery() "
            "THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END "
            "AS lsn) p LEFT JOIN pg_catalog.pg_replication_slots s ON s.slot_name = " +
            QuoteLiteral(migration_.slot_name),
        observer);
    const pg::SqlRow &row = now.rows.at(0);
    state_.source_lsn.store(pg::Position(row, 0).value);
    state_.slot_retained_bytes.store(pg::Number<int64_t>(row, 1));
    // Below 0 when it may be dropped at any moment.
    state_.slot_safe_bytes.store(row[2] ? std::max<int64_t>(pg::Number<int64_t>(row, 2), 0) : -1);
    state_.slot_xmin_age.store(pg::Number<int64_t>(row, 3));
}

milliseconds
Coordinator::Lag() const {
    const std::optional<int64_t> lag = ReplayLag(state_, GetCurrentTimestamp());
    return lag ? milliseconds(*lag / 1000) : milliseconds::max();
}

// Before it the tables are of different moments, and foreign keys between them need not hold.
uint64_t
Coordinator::LevelOfTables() {
    pg::Transaction transaction;
    const Lsn latest = LatestSnapshot(migration_.id);
    transaction.Commit();
    return latest.value;
}

void
Coordinator::RunCatchupStage() {
    receiver_wanted_ = true;
    ForgetEnds(state_);
    const uint64_t level = LevelOfTables();
    for (;;) {
        pool_.Ensure(WorkerKind::kReceiver, 1);
        if (!ApplyHasEnded()) {
            EnsureApply();
        }
        PollSource();
        WatchPublications();
        WatchColumns();
        const milliseconds lag = Lag();
        // Received what the source had written a moment ago, and applied that.
        const bool received = state_.source_lsn.load() == 0 ||
                              state_.received_lsn.load() + (1 << 20) >= state_.source_lsn.load();
        const bool caught_up =
            pool_.Running(WorkerKind::kApply) == migration_.settings.apply_jobs && received &&
            state_.applied_lsn.load() != 0 && AppliedUpTo(state_) >= level &&
            lag < pg::CaughtUpLag();
        if (ApplyHasEnded() || caught_up) {
            break;
        }
        Tick(lag == milliseconds::max()
                 ? "applying buffered changes"
                 : "applying buffered changes, " + DescribeLag(lag) + " behind the source");
    }
    RunJobs(kLastDeferredPhase, "adding foreign keys");
}

void
Coordinator::RunStreamingStage() {
    receiver_wanted_ = true;
    for (;;) {
        if (ApplyHasEnded()) {
            break;
        }
        pool_.Ensure(WorkerKind::kReceiver, 1);
        EnsureApply();
        PollSource();
        WatchPublications();
        WatchColumns();
        const milliseconds lag = Lag();
        const std::string where =
            lag == milliseconds::max() ? "" : ", " + DescribeLag(lag) + " behind the source";
        Tick(migration_.endpos.valid()
                 ? "applying changes up to endpos " + migration_.endpos.ToString() + where
                 : "applying changes as they come" + where);
    }
    // endpos may have been set again, later, while apply ended at the old one.
    AwaitEndpos();
    if (migration_.endpos.value != state_.endpos_reached.load()) {
        ForgetEnds(state_);
        return RunStreamingStage();
    }
    Event("info", "endpos " + migration_.endpos.ToString() + " is reached");
    receiver_wanted_ = false;
    pool_.Stop(WorkerKind::kReceiver);
}

// What set_endpos publishes counts before its transaction is committed. Waits until that has ended,
// and takes back an endpos whose transaction failed at the last moment.
void
Coordinator::AwaitEndpos() {
    pg::Transaction transaction;
    EndposStands();
    transaction.Commit();
    Reload();
}

// Whether apply ended where the migration's row says; if not, it is told where. The row is locked
// for the rest of the transaction: what set_endpos does behind it finds what that has committed.
bool
Coordinator::EndposStands() {
    const std::optional<Migration> now = LoadMigration(migration_.id, true);
    uint64_t reached = state_.endpos_reached.load();
    if (now && now->endpos.value == reached) {
        return true;
    }
    if (now) {
        state_.endpos.compare_exchange_strong(reached, now->endpos.value);
    }
    return false;
}

void
Coordinator::RunCutoverStage() {
    SetMessage("checking columns");
    source::Connection source =
        source::Connection::Open(migration_.settings.source, source::ConnectionKind::kSql);
    source::CheckSameServer(source, migration_.source_system_identifier);
    CheckColumns(source, WatchLocks(source, "checking columns"));
    const TableFilter filter = FilterOf(migration_.settings);
    std::vector<stage::RelationName> known;
    SetMessage("setting sequences");
    stage::SourceSequences sequences = stage::ReadSequences(
        source,
        [&](const std::string &schema, const std::string &name) {
            return filter.Selects(schema, name);
        },
        WatchLocks(source, "setting sequences"));
    SetMessage("setting sequences"); // no longer what the source kept it waiting for
    {
        std::optional<pg::Transaction> transaction(std::in_place);
        const stage::SequenceReport report = stage::SetSequences(std::move(sequences), [&] {
            transaction->Commit();
            transaction.emplace();
        });
        RecordEvent(migration_.id, "info", migration_.stage,
                    Counted(static_cast<uint64_t>(report.set), "sequence") + " set");
        for (const std::string &warning : report.warnings) {
            RecordEvent(migration_.id, "warning", migration_.stage, warning);
        }
        for (const std::string &warning : stage::InvalidateAggregates()) {
            RecordEvent(migration_.id, "warning", migration_.stage, warning);
        }
        for (const CopyTable &table : LoadTables(migration_.id)) {
            known.emplace_back(table.schema, table.name);
        }
        transaction->Commit();
    }
    SetMessage("checking publications and replica identities");
    CheckPublications(source, WatchLocks(source, "checking publications"));
    CheckIdentities(source, WatchLocks(source, "checking replica identities"));
    CheckInsertOnlyTables(source, filter);
    CheckNewPartitions(source, filter);
    CheckRequests();
    stage::CutoverReport report;
    RefreshViews(source, report);
    AnalyzeChangedTables(report);
    FindUnknownTables(source, filter, known, report);
    RunJobs(static_cast<int>(JobPhase::kLast), "creating event triggers");
    for (const std::string &note : report.notes) {
        Event("notice", note);
    }
    for (const std::string &warning : report.warnings) {
        Event("warning", warning);
    }
    CheckRequests();
    MakeCutoverChecks();
}

// Each in a transaction of its own, and shown as a job like an index: it may take long.
void
Coordinator::RefreshViews(source::Connection &source, stage::CutoverReport &report) {
    SetMessage("refreshing materialized views");
    const std::set<stage::RelationName> populated =
        stage::PopulatedViews(source, WatchLocks(source, "refreshing materialized views"));
    std::vector<SchemaJob> jobs;
    {
        pg::Transaction transaction;
        jobs = PlanRefreshes(migration_.id, stage::PlanMaterializedViews(populated));
        transaction.Commit();
    }
    for (size_t i = 0; i < jobs.size(); i++) {
        const SchemaJob &job = jobs[i];
        if (job.attempts >= pg::CopyAttempts()) {
            GiveUpRefresh(job, report);
            continue;
        }
        SetMessage("refreshing materialized view " + QualifiedName(job.schema, job.table) + " (" +
                   std::to_string(i + 1) + " of " + std::to_string(jobs.size()) + ")");
        const int64_t started = GetCurrentTimestamp();
        {
            pg::Transaction transaction;
            BeginJob(job);
            transaction.Commit();
        }
        const size_t warnings = report.warnings.size();
        pg::Transaction transaction;
        stage::RefreshMaterializedViews({{job.schema, job.table}}, report);
        if (report.warnings.size() > warnings) {
            SkipJob(job, report.warnings.back());
        } else {
            FinishJobs({{&job, started, GetCurrentTimestamp()}});
        }
        transaction.Commit();
        CheckRequests();
    }
}

// One that has taken the server down each time: it can be refreshed by hand.
void
Coordinator::GiveUpRefresh(const SchemaJob &job, stage::CutoverReport &report) {
    report.warnings.push_back("materialized view " + QualifiedName(job.schema, job.table) +
                              " could not be refreshed in " +
                              Counted(static_cast<uint64_t>(job.attempts), "attempt") +
                              ": the server crashed meanwhile; to try again: " + job.sql + ";");
    pg::Transaction transaction;
    SkipJob(job, report.warnings.back());
    transaction.Commit();
}

// The application waits: what is found is told, and stops nothing. Nor does a check that fails.
void
Coordinator::MakeCutoverChecks() {
    SetMessage("checking what the change stream cannot carry");
    try {
        pg::Transaction transaction;
        const std::vector<stage::CheckRow> rows =
            CheckCutover(migration_, pg::CutoverCheckLimit(), false, [this] {
                const auto now = LoadMigration(migration_.id);
                if (!now) {
                    throw StopRequested();
                }
                HonorRequests(*now);
            });
        RecordChecks(migration_.id, migration_.stage, rows);
        transaction.Commit();
    } catch (const Error &error) {
        if (IsTransient(error.sqlstate()) || error.sqlstate() == sqlstate::kQueryCanceled) {
            throw;
        }
        Event("warning", "the checks at cutover could not be made: " + error.message(),
              error.detail() + "\nSELECT * FROM livemigrate.cutover_check();");
    }
}

// Of partitions that were created meanwhile INSERT and TRUNCATE alone were replicated, unless their
// root has what they inherit as replica identity. Whether there was anything else.
std::map<stage::RelationName, bool>
Coordinator::InsertOnlyPartitions(source::Connection &source, const TableFilter &filter,
                                  const std::vector<CopyTable> &tables) {
    if (!migration_.publications_created || migration_.publications.size() < 2) {
        return {};
    }
    std::set<uint32_t> known;
    for (const CopyTable &table : tables) {
        known.insert(table.source_oid);
    }
    auto partitions = stage::FindInsertOnlyPartitions(source, migration_.publications[0],
                                                      migration_.publications[1], known,
                                                      WatchLocks(source, "checking partitions"));
    std::erase_if(partitions, [&](const auto &partition) {
        return !filter.Selects(partition.first.first, partition.first.second);
    });
    return partitions;
}

// Tables without a replica identity were replicated for INSERT and TRUNCATE only. The source's
// statistics tell whether there was anything else; once told, resuming goes on.
void
Coordinator::CheckInsertOnlyTables(source::Connection &source, const TableFilter &filter) {
    std::vector<CopyTable> tables;
    {
        pg::Transaction transaction;
        tables = LoadTables(migration_.id);
        transaction.Commit();
    }
    auto partitions = InsertOnlyPartitions(source, filter, tables);
    if (partitions.empty() && std::none_of(tables.begin(), tables.end(), IsInsertOnly)) {
        return;
    }
    WaitForReports(source);
    partitions = InsertOnlyPartitions(source, filter, tables);
    std::erase_if(tables, [](const CopyTable &table) { return !IsInsertOnly(table); });
    pg::Transaction transaction;
    std::string changed;
    for (const auto &[name, is_changed] : partitions) {
        if (is_changed && RecordOnce(migration_.id, "insert_only", name,
                                     "rows were updated or deleted on the source")) {
            changed += (changed.empty() ? "" : ", ") + QualifiedName(name.first, name.second);
        }
    }
    for (const CopyTable &table : tables) {
        const pg::SqlResult now = source.Query(
            "SELECT pg_catalog.pg_stat_get_tuples_updated(" + std::to_string(table.source_oid) +
            ") + pg_catalog.pg_stat_get_tuples_deleted(" + std::to_string(table.source_oid) + ")");
        const auto rows = pg::Number<uint64_t>(now.rows.at(0), 0);
        if (rows > table.rows_changed) {
            changed += (changed.empty() ? "" : ", ") + QualifiedName(table.schema, table.name);
            pg::Query("UPDATE livemigrate.table_copy SET rows_changed = $3::bigint "
                      "WHERE migration = $1::int AND id = $2::int",
                      {std::to_string(migration_.id), std::to_string(table.id), now.Scalar()});
            pg::Query("INSERT INTO livemigrate.conflict (migration, kind, schema_name, table_name, "
                      "message) VALUES ($1::int, 'insert_only', $2::name, $3::name, $4)",
                      {std::to_string(migration_.id), table.schema, table.name,
                       std::to_string(rows - table.rows_changed) +
                           " rows were updated or deleted on the source"});
        }
    }
    transaction.Commit();
    if (!changed.empty()) {
        throw Error(sqlstate::kObjectNotInPrerequisiteState,
                    "rows were updated or deleted on the source in tables without replica identity")
            .Detail("They are: " + changed +
                    ". Such changes are not in the change stream, so the target may differ.")
            .Hint("Compare them with livemigrate.compare_data() and bring the target in line, or "
                  "know that they do not matter; then run: SELECT livemigrate.migration_resume();");
    }
}

void
Coordinator::WaitForReports(source::Connection &source) {
    SetMessage("waiting for the source's statistics of tables without replica identity");
    const Clock::time_point deadline = Clock::now() + kMostReportTime;
    for (;;) {
        const pg::SqlRow sessions = source.Query(kSessionsThatMayReport).rows.at(0);
        const auto count = pg::Number<uint64_t>(sessions, 0);
        if (count == 0) {
            return;
        }
        if (Clock::now() >= deadline) {
            return WarnOfUnreported(count, pg::Number<uint64_t>(sessions, 1),
                                    pg::Text(sessions, 2));
        }
        CheckRequests();
        pg::SleepOnLatch(kReportPoll);
    }
}

// The application waits, so the cutover goes on.
void
Coordinator::WarnOfUnreported(uint64_t sessions, uint64_t unseen, const std::string &first) {
    Event("warning",
          "the source's statistics may lack what " + Counted(sessions, "session") +
              " changed in tables without replica identity",
          "The first are " + first + ". " +
              (unseen > 0 ? "What " + Counted(unseen, "session") +
                                " of other roles do is shown after GRANT pg_read_all_stats to "
                                "livemigrate's role on the source. "
                          : "") +
              "To be sure: SELECT * FROM livemigrate.compare_data();");
}

// A partition that was created meanwhile is published through its root, if that could be in the
// publication: source/published_roots.hpp. Else nothing of it arrived; once told, resuming goes on.
void
Coordinator::CheckNewPartitions(source::Connection &source, const TableFilter &filter) {
    if (migration_.plugin != Plugin::kPgoutput || migration_.settings.existing_slot) {
        return;
    }
    std::set<uint32_t> known;
    {
        pg::Transaction transaction;
        for (const CopyTable &table : LoadTables(migration_.id)) {
            known.insert(table.source_oid);
        }
        transaction.Commit();
    }
    const std::vector<stage::RelationName> unpublished = stage::FindUnpublishedPartitions(
        source, migration_.publications, known, WatchLocks(source, "checking partitions"));
    pg::Transaction transaction;
    std::string names;
    for (const auto &[schema, name] : unpublished) {
        if (!filter.Selects(schema, name)) {
            continue;
        }
        if (RecordOnce(migration_.id, "new_partition", {schema, name},
                       "was created on the source during the migration, and its rows were not "
                       "replicated")) {
            names += (names.empty() ? "" : ", ") + QualifiedName(schema, name);
        }
    }
    transaction.Commit();
    if (!names.empty()) {
        throw Error(sqlstate::kObjectNotInPrerequisiteState,
                    "partitions were created on the source that it does not publish")
            .Detail("They are: " + names + ". None of their rows is in the change stream.")
            .Hint("Create them on the target as they are on the source, copy their rows, then run: "
                  "SELECT livemigrate.migration_resume();");
    }
}

// All tables were analyzed when their indexes were built; again only those that changed much since,
// because the application waits.
void
Coordinator::AnalyzeChangedTables(stage::CutoverReport &report) {
    SetMessage("analyzing tables that changed");
    pg::Transaction transaction;
    const pg::SqlResult changed =
        pg::Query("SELECT DISTINCT n.nspname, c.relname FROM pg_catalog.pg_class c "
                  "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
                  "CROSS JOIN LATERAL (VALUES (c.oid), (CASE WHEN c.relispartition "
                  "THEN pg_catalog.pg_partition_root(c.oid)::oid END)) AS o (oid) "
                  "JOIN pg_catalog.pg_class oc ON oc.oid = o.oid "
                  "JOIN pg_catalog.pg_namespace om ON om.oid = oc.relnamespace "
                  "JOIN livemigrate.table_copy t ON t.schema_name = om.nspname "
                  "AND t.table_name = oc.relname WHERE t.migration = $1::int AND c.relkind = 'r' "
                  "AND (c.reltuples < 0 OR "
                  "pg_catalog.pg_stat_get_mod_since_analyze(c.oid) > 50 + 0.1 * c.reltuples)",
                  {std::to_string(migration_.id)});
    std::vector<stage::RelationName> tables;
    for (const pg::SqlRow &row : changed.rows) {
        tables.emplace_back(pg::Text(row, 0), pg::Text(row, 1));
    }
    transaction.Commit();
    // Tables and their indexes stay locked until the transaction ends.
    constexpr size_t kTablesPerTransaction = 100;
    for (size_t begin = 0; begin < tables.size(); begin += kTablesPerTransaction) {
        const auto first = tables.begin() + static_cast<std::ptrdiff_t>(begin);
        const size_t count = std::min(kTablesPerTransaction, tables.size() - begin);
        pg::Transaction analyzing;
        stage::AnalyzeTables({first, first + static_cast<std::ptrdiff_t>(count)}, report);
        analyzing.Commit();
        CheckRequests();
    }
}

void
Coordinator::FindUnknownTables(source::Connection &source, const TableFilter &filter,
                               std::vector<stage::RelationName> known,
                               stage::CutoverReport &report) {
    // What the user left out is known, too.
    for (const source::SourceTable &table :
         source::ListTables(source, source::TableSizes::kAsCounted)) {
        if (!filter.Selects(table.schema, table.name)) {
            known.emplace_back(table.schema, table.name);
        }
    }
    pg::Transaction transaction;
    stage::FindNewSourceTables(source, known, report);
    WarnOfLostTables(LoadTables(migration_.id), source::ListTableOids(source), report.warnings);
    transaction.Commit();
}

} // namespace livemigrate::control
