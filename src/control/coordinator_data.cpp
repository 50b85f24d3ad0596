// Stages data and indexes.

#include "pg/prelude.hpp"

#include "control/coordinator.hpp"

#include "control/mixed_partitions.hpp"
#include "control/table_selection.hpp"
#include "core/operator_text.hpp"
#include "core/sql_text.hpp"
#include "core/split_planner.hpp"
#include "pg/extension_config.hpp"
#include "pg/guard.hpp"
#include "pg/local_settings.hpp"
#include "pg/sql_row.hpp"
#include "pg/table_manager.hpp"
#include "pg/transaction.hpp"
#include "pg/truncation.hpp"
#include "stage/copy.hpp"
#include "stage/index.hpp"
#include "stage/large_objects.hpp"
#include "stage/schema_dump.hpp"

#include <algorithm>
#include <set>

namespace livemigrate::control {

namespace {

// One whose rows mix with others' could not be emptied alone if a part had to be copied again: it
// is copied whole. REQUIRES: an open transaction.
Splitting
HowToSplit(const CopyTable &table) {
    if (table.is_extension_config || IsMixed(table)) {
        return Splitting::kNever;
    }
    // A part of a distributed table lies in a temporary one before its rows are sent.
    return pg::ManagerOf(table.target_schema, table.target_name) == pg::TableManager::kCitus
               ? Splitting::kAlways
               : Splitting::kIfUneven;
}

// So many tables do not fail for reasons of their own.
constexpr int64_t kMostFailed = 20;

// When to look at all parts or jobs again: thousands of them take milliseconds to count, so not at
// every tick, but only as often as costs little; always when no worker is left.
class Recount {
  public:
    bool
    IsDue(bool no_worker_runs) {
        begin_ = Clock::now();
        return no_worker_runs || begin_ >= next_;
    }
    void
    Done() {
        const Clock::time_point now = Clock::now();
        next_ = now + kRest * (now - begin_);
    }

  private:
    using Clock = std::chrono::steady_clock;
    static constexpr int kRest = 30; // times as long as counting took
    Clock::time_point begin_{};
    Clock::time_point next_{};
};

// Its rows are no user's, or an extension's on the target.
[[noreturn]] void
ThrowNoConfiguration(const CopyTable &table) {
    const std::string name = QualifiedName(table.schema, table.name);
    throw Error(sqlstate::kObjectNotInPrerequisiteState,
                "table " + name + " is configuration of an extension on the source only")
        .Detail("Which of its rows may go is for the target's extension to say.")
        .Hint("Have the extension in the same version on both servers; or start over with "
              "exclude_tables => '{" +
              table.schema + "." + table.name + "}'.");
}

} // namespace

// The events tell of each of them already.
void
Coordinator::ThrowPartError(int64_t failed) {
    if (failed == 0) {
        return;
    }
    pg::Transaction transaction;
    std::optional<Error> error = FirstPartError(migration_.id);
    transaction.Commit();
    if (!error) {
        return;
    }
    is_error_recorded_ = true;
    if (failed == 1) {
        throw *error;
    }
    throw Error(error->sqlstate(), error->message())
        .Detail((error->detail().empty() ? "" : error->detail() + "\n") +
                Counted(static_cast<uint64_t>(failed), "table") +
                " failed in all: SELECT * FROM livemigrate.table_progress WHERE error IS NOT NULL;")
        .Hint(error->hint());
}

// Once, before anything is copied: later a table that is not complete is empty, and one that is may
// share partitions or foreign keys with it. Of an extension's configuration tables only the user's
// rows go, behind what may reference them.
void
Coordinator::EmptyExisting(const std::vector<CopyTable> &tables) {
    std::set<Oid> existing;
    std::vector<std::pair<Oid, std::string>> configuration;
    for (const CopyTable &table : tables) {
        if (!table.copy_data || table.state == "skipped") {
            continue;
        }
        const Oid relid = pg::TableOid(table.target_schema, table.target_name);
        if (!table.is_extension_config) {
            existing.insert(relid);
            continue;
        }
        const auto condition = pg::UserRowsCondition(relid);
        if (!condition) {
            ThrowNoConfiguration(table);
        }
        if (*condition != table.row_condition) {
            RecordEvent(migration_.id, "warning", migration_.stage,
                        "the user's rows of " + QualifiedName(table.schema, table.name) +
                            " are told apart otherwise on the target",
                        "Emptied by: " + *condition + ". Copied by: " + table.row_condition);
        }
        configuration.emplace_back(relid, *condition);
    }
    // As while changes are applied: what triggers do is among the rows that come.
    const pg::LocalSettings settings({{"session_replication_role", "replica"}});
    if (!existing.empty()) {
        std::vector<Oid> emptied(existing.begin(), existing.end());
        const std::vector<Oid> along = pg::TruncatedAlong(emptied, {});
        emptied.insert(emptied.end(), along.begin(), along.end());
        pg::TruncateTables(emptied);
    }
    for (const auto &[relid, condition] : configuration) {
        pg::DeleteRows(relid, condition);
    }
}

void
Coordinator::PlanData() {
    std::vector<CopyTable> tables;
    {
        pg::Transaction transaction;
        tables = LoadTables(migration_.id);
        transaction.Commit();
    }
    std::vector<TableSize> sizes;
    std::map<uint64_t, const CopyTable *> by_id;
    pg::Transaction reading;
    for (const CopyTable &table : tables) {
        if (!table.copy_data || table.state == "done" || table.state == "skipped") {
            continue;
        }
        const Splitting splitting =
            table.bytes > migration_.settings.split_bytes &&
                    migration_.source_version >= source::kTidRangeScanVersion
                ? HowToSplit(table)
                : Splitting::kNever;
        sizes.push_back({static_cast<uint64_t>(table.id), table.pages, table.bytes, splitting});
        by_id[static_cast<uint64_t>(table.id)] = &table;
    }
    reading.Commit();
    std::vector<CopyTask> tasks;
    int32_t next_id = 0;
    bool has_large_objects = false; // from before a new snapshot
    {
        pg::Transaction transaction;
        const pg::SqlResult planned = pg::Query(
            "SELECT COALESCE(pg_catalog.max(id), 0) + 1, "
            "COALESCE(pg_catalog.bool_or(table_id IS NULL), false) FROM livemigrate.copy_part "
            "WHERE migration = $1::int",
            {std::to_string(migration_.id)});
        next_id = pg::Number<int32_t>(planned.rows.at(0), 0);
        has_large_objects = pg::Flag(planned.rows.at(0), 1);
        transaction.Commit();
    }
    for (const CopyPart &part : PlanParts(sizes, migration_.settings.split_bytes,
                                          static_cast<uint32_t>(migration_.settings.table_jobs))) {
        CopyTask task;
        task.id = next_id++;
        task.table_id = static_cast<int32_t>(part.table_id);
        task.part = static_cast<int32_t>(part.part);
        task.condition = PartCondition(part);
        if (const std::string &rows = by_id[part.table_id]->row_condition; !rows.empty()) {
            task.condition = rows;
        }
        task.bytes = part.bytes_estimate;
        tasks.push_back(std::move(task));
    }
    if (!has_large_objects) {
        for (const auto &[first, last] : stage::PlanLargeObjects(*snapshot_session_)) {
            CopyTask task;
            task.id = next_id++;
            task.condition = std::to_string(first) + "-" + std::to_string(last);
            tasks.push_back(std::move(task));
        }
    }
    pg::Transaction transaction;
    const bool first_plan = std::none_of(
        tables.begin(), tables.end(), [](const CopyTable &table) { return table.state == "done"; });
    if (first_plan && migration_.settings.on_existing == OnExisting::kTruncate) {
        EmptyExisting(tables);
    } else if (first_plan) {
        CheckTablesEmpty(tables);
    }
    InsertParts(migration_.id, tasks);
    transaction.Commit();
}

void
Coordinator::PublishCopyFigures() {
    pg::Transaction transaction;
    const CopyFigures figures = SumTables(migration_.id);
    transaction.Commit();
    WorkFigures &work = state_.work;
    work.tables.store(figures.tables);
    work.tables_done.store(figures.tables_done);
    work.bytes.store(figures.bytes);
    work.bytes_done.store(figures.bytes_done);
    work.copied_bytes.store(figures.copied_bytes);
    work.rows_done.store(figures.rows_done);
}

void
Coordinator::PublishJobFigures() {
    pg::Transaction transaction;
    const JobFigures figures = SumJobs(migration_.id);
    transaction.Commit();
    state_.work.jobs.store(figures.jobs);
    state_.work.jobs_done.store(figures.jobs_done);
}

// REQUIRES: an open transaction.
void
Coordinator::PublishJobsEnd() {
    const std::optional<double> seconds =
        SecondsToBuild(SumBuilds(migration_.id), static_cast<int>(migration_.settings.index_jobs));
    state_.work.jobs_end_at.store(
        seconds ? GetCurrentTimestamp() + static_cast<int64_t>(*seconds * USECS_PER_SEC) : 0);
}

// What no worker has in hand is free, also where its release failed when its worker ended.
void
Coordinator::ReleaseOrphans() {
    if (pool_.Running(WorkerKind::kCopy) > 0 || pool_.Running(WorkerKind::kIndex) > 0) {
        return;
    }
    pg::Transaction transaction;
    ReleaseClaims(migration_.id, std::nullopt);
    transaction.Commit();
}

void
Coordinator::RunDataStage() {
    ReleaseOrphans();
    RouteRows();
    CheckDistributedTables();
    EnsureSnapshot();
    bool planned = false;
    {
        pg::Transaction transaction;
        planned = !pg::Query("SELECT FROM livemigrate.copy_part WHERE migration = $1::int "
                             "AND state <> 'void' LIMIT 1",
                             {std::to_string(migration_.id)})
                       .rows.empty() &&
                  pg::Query("SELECT FROM livemigrate.table_copy t WHERE migration = $1::int "
                            "AND state IN ('pending', 'copying') AND NOT EXISTS (SELECT FROM "
                            "livemigrate.copy_part p WHERE p.migration = t.migration "
                            "AND p.table_id = t.id AND p.state <> 'void') LIMIT 1",
                            {std::to_string(migration_.id)})
                      .rows.empty();
        transaction.Commit();
    }
    if (!planned) {
        CheckSingleShards();
        CheckPlacedTables();
        CheckColumnTypes();
        CheckRoutedIdentities();
        SetMessage("planning the copy");
        PlanData();
    }
    PlanIndexesAhead();
    pool_.ForgetFinished(WorkerKind::kCopy);
    PublishCopyFigures();
    PartCounts parts;
    Recount recount;
    for (;;) {
        if (recount.IsDue(pool_.Running(WorkerKind::kCopy) == 0)) {
            pg::Transaction transaction;
            parts = CountUnfinishedParts(migration_.id);
            transaction.Commit();
            recount.Done();
        }
        if (parts.left == 0 || parts.failed >= kMostFailed) {
            ThrowPartError(parts.failed);
        }
        // Otherwise those that failed are to be tried again meanwhile, and counted anew.
        if (parts.left == 0 && parts.failed == 0) {
            break;
        }
        EnsureCopying(parts.left - parts.postponed);
        ShowPostponed(parts);
        const int indexing = pool_.Running(WorkerKind::kIndex);
        Tick(
            "copying: " + std::to_string(state_.work.tables_done.load()) + " of " +
            std::to_string(state_.work.tables.load()) + " tables done, " +
            Counted(static_cast<uint64_t>(pool_.Running(WorkerKind::kCopy)), "copy worker") +
            (indexing == 0 ? "" : ", " + Counted(static_cast<uint64_t>(indexing), "index worker")) +
            (parts.failed == 0 ? ""
                               : "; " + Counted(static_cast<uint64_t>(parts.failed), "table") +
                                     " failed, see livemigrate.table_progress") +
            (parts.postponed == 0
                 ? ""
                 : "; to be tried again: " +
                       Counted(static_cast<uint64_t>(parts.postponed), "table part")));
    }
    part_trouble_.reset();
    pool_.Stop(WorkerKind::kCopy);
    PublishCopyFigures();
    if (PausesAfter(Stage::kData)) {
        pool_.Stop(WorkerKind::kIndex);
    }
    ReleaseSnapshot();
}

bool
Coordinator::PausesAfter(Stage stage) const {
    const std::vector<Stage> &pauses = migration_.settings.pause_after;
    return std::find(pauses.begin(), pauses.end(), stage) != pauses.end();
}

// When nothing is left but parts that failed and wait for their next attempt.
void
Coordinator::ShowPostponed(const PartCounts &parts) {
    if (parts.postponed < parts.left || pool_.Running(WorkerKind::kCopy) > 0) {
        part_trouble_.reset();
        return;
    }
    pg::Transaction transaction;
    const std::optional<PostponedPart> next = NextPostponedPart(migration_.id);
    transaction.Commit();
    if (next) {
        part_trouble_ = WorkerPool::Trouble{next->error.sqlstate(),
                                            next->error.message(),
                                            next->error.detail(),
                                            next->error.hint(),
                                            next->attempts,
                                            std::chrono::steady_clock::now(),
                                            std::chrono::steady_clock::now() + next->left};
    }
}

// As many workers as there are parts to copy now. Indexes of complete tables are built beside the
// copy; but where worker slots are short, only with what the copy leaves.
void
Coordinator::EnsureCopying(int64_t parts) {
    pool_.Ensure(WorkerKind::kCopy,
                 static_cast<int>(std::min<int64_t>(migration_.settings.table_jobs, parts)));
    if (pool_.missing() > 0 || PausesAfter(Stage::kData)) {
        return;
    }
    pg::Transaction transaction;
    const auto most = static_cast<int>(migration_.settings.index_jobs);
    const int64_t ready = CountReadyJobs(migration_.id, most);
    transaction.Commit();
    if (ready > 0) {
        pool_.Ensure(WorkerKind::kIndex, static_cast<int>(std::min<int64_t>(
                                             most, pool_.Running(WorkerKind::kIndex) + ready)));
    }
}

// Tables whose rows are all there when their own copy is complete, by name: not partitions that get
// rows from others, too, nor partitioned tables, whose statements lock out the copy of partitions.
std::map<std::pair<std::string, std::string>, int32_t>
Coordinator::TablesIndexedAhead() {
    std::map<std::pair<std::string, std::string>, int32_t> ahead;
    pg::Transaction transaction;
    for (const CopyTable &table : LoadTables(migration_.id)) {
        if (table.relkind == 'r' && !IsMixed(table)) {
            ahead[{table.schema, table.name}] = table.id;
        }
    }
    transaction.Commit();
    return ahead;
}

// Before a pause behind the data, which people use to change tables, nothing is built.
void
Coordinator::PlanIndexesAhead() {
    state_.job_phase.store(static_cast<uint32_t>(JobPhase::kIndexes));
    pg::Transaction transaction;
    const bool planned = HasJobs(migration_.id);
    transaction.Commit();
    if (!planned && !PausesAfter(Stage::kData)) {
        SetMessage("planning indexes and constraints");
        PlanIndexes();
    }
}

void
Coordinator::PlanIndexes() {
    const auto ahead = TablesIndexedAhead();
    std::string sql;
    if (migration_.settings.on_existing == OnExisting::kError) {
        sql = stage::RestoreText(migration_.settings, migration_.source_version, directory_.dump(),
                                 stage::DumpSection::kPostData);
    }
    const TableFilter filter = FilterOf(migration_.settings);
    pg::Transaction transaction;
    // A partitioned table's ANALYZE covers its partitions.
    const pg::SqlResult tables = pg::Query(
        "SELECT t.schema_name, t.table_name FROM livemigrate.table_copy t "
        "JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema_name "
        "JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.table_name "
        "WHERE t.migration = $1::int AND NOT c.relispartition ORDER BY t.bytes DESC",
        {std::to_string(migration_.id)});
    std::set<std::pair<std::string, std::string>> without_rows;
    for (const CopyTable &table : LoadTables(migration_.id)) {
        if (table.relkind == 'r' && !table.copy_data) {
            without_rows.emplace(table.schema, table.name);
        }
    }
    std::vector<std::pair<std::string, std::string>> analyze;
    for (const pg::SqlRow &row : tables.rows) {
        analyze.emplace_back(pg::Text(row, 0), pg::Text(row, 1));
    }
    stage::JobPlan plan = stage::PlanJobs(
        sql,
        [&](const std::string &schema, const std::string &table) {
            return filter.Selects(schema, table);
        },
        without_rows, migration_.publications, LoadRearranged(migration_.id), analyze);
    for (SchemaJob &job : plan.jobs) {
        const auto table = ahead.find({job.schema, job.table});
        if (job.phase == static_cast<int>(JobPhase::kIndexes) && table != ahead.end()) {
            job.table_id = table->second;
        }
    }
    InsertJobs(migration_.id, plan.jobs);
    for (const std::string &note : plan.notes) {
        RecordEvent(migration_.id, "notice", migration_.stage, note);
    }
    for (const std::string &warning : plan.warnings) {
        RecordEvent(migration_.id, "warning", migration_.stage, warning);
    }
    transaction.Commit();
    PublishJobFigures();
}

void
Coordinator::ReleaseIndexes() {
    pg::Transaction transaction;
    // Rows of tables copied under different snapshots only fit together once apply has passed the
    // last of these.
    const bool several_snapshots =
        pg::Query("SELECT pg_catalog.count(DISTINCT snapshot_lsn) > 1 FROM livemigrate.table_copy "
                  "WHERE migration = $1::int AND snapshot_lsn IS NOT NULL",
                  {std::to_string(migration_.id)})
            .Scalar() == "t";
    ReleaseJobs(migration_.id, several_snapshots);
    transaction.Commit();
}

void
Coordinator::RunJobs(int last_phase, const char *what) {
    state_.job_phase.store(static_cast<uint32_t>(last_phase));
    ReleaseOrphans();
    {
        pg::Transaction transaction;
        ForgetJobErrors(migration_.id);
        transaction.Commit();
    }
    int64_t left = 0;
    Recount recount;
    for (;;) {
        if (recount.IsDue(pool_.Running(WorkerKind::kIndex) == 0)) {
            pg::Transaction transaction;
            left = CountUnfinishedJobs(migration_.id, last_phase);
            const std::optional<Error> given_up = GivenUpJob(migration_.id, last_phase);
            PublishJobsEnd();
            transaction.Commit();
            recount.Done();
            if (given_up) {
                throw *given_up;
            }
        }
        if (left == 0) {
            break;
        }
        pool_.Ensure(WorkerKind::kIndex,
                     static_cast<int>(std::min<int64_t>(migration_.settings.index_jobs, left)));
        const int workers = pool_.Running(WorkerKind::kIndex);
        Tick(std::string(what) + ": " + Counted(static_cast<uint64_t>(left), "statement") +
             " left, " + Counted(static_cast<uint64_t>(workers), "index worker"));
    }
    pool_.Stop(WorkerKind::kIndex);
    state_.work.jobs_end_at.store(0);
    PublishJobFigures();
}

void
Coordinator::RunIndexStage() {
    if (!receiver_wanted_) {
        receiver_wanted_ = true;
        pool_.Ensure(WorkerKind::kReceiver, 1);
    }
    bool planned = false;
    {
        pg::Transaction transaction;
        planned = HasJobs(migration_.id);
        transaction.Commit();
    }
    if (!planned) {
        SetMessage("planning indexes and constraints");
        PlanIndexes();
    }
    ReleaseIndexes();
    RunJobs(static_cast<int>(JobPhase::kAnalyze), "building indexes and constraints");
}

} // namespace livemigrate::control
