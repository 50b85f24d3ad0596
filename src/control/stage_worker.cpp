// The main function of receiver, apply, copy and index workers: attach to the migration's shared
// memory, do the one thing, leave the outcome in the slot.

#include "pg/prelude.hpp"

#include "control/advisory_lock.hpp"
#include "control/apply_worker.hpp"
#include "control/catalog.hpp"
#include "control/receiver_worker.hpp"
#include "control/shared_memory.hpp"
#include "control/source_blockers.hpp"
#include "control/source_monitor.hpp"
#include "control/table_selection.hpp"
#include "control/version_check.hpp"
#include "core/retry_policy.hpp"
#include "core/sql_text.hpp"
#include "pg/background_worker.hpp"
#include "pg/guard.hpp"
#include "pg/guc.hpp"
#include "pg/stop_request.hpp"
#include "pg/table_manager.hpp"
#include "pg/transaction.hpp"
#include "pg/wait.hpp"
#include "stage/copy.hpp"
#include "stage/source_lock.hpp"
#include "stage/index.hpp"
#include "stage/large_object_rights.hpp"
#include "stage/large_objects.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>

namespace livemigrate::control {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kShortestJobPause{10};
constexpr milliseconds kLongestJobPause{250};

// A connection that has received a longer row is not kept: libpq would keep as much memory.
constexpr uint64_t kLongestRowKept = 8 << 20;

// What a worker knows about itself; lives on the stack of its main function.
struct WorkerContext {
    pg::WorkerArguments arguments;
    SharedState &state;
    WorkerSlot &slot;
    Migration migration;
    uint64_t longest_row = 0; // received over the copy worker's connection
};

// A part as its copy ends, for FinishParts.
FinishedPart
Finished(const CopyTask &task, uint64_t rows, uint64_t bytes, int64_t started) {
    return {&task, rows, bytes, started, GetCurrentTimestamp()};
}

std::vector<stage::SourceTableName>
SourceTables(const std::vector<CopyTask> &tasks) {
    std::vector<stage::SourceTableName> tables;
    for (const CopyTask &task : tasks) {
        if (task.table_id) {
            tables.push_back({task.source_oid, task.schema, task.name});
        }
    }
    return tables;
}

// The coordinator holds the snapshot: it is told if that is of no use any more.
template <typename F>
void
TellOfStaleSnapshot(WorkerContext &context, const F &check) {
    try {
        check();
    } catch (const Error &error) {
        if (error.sqlstate() == sqlstate::kObjectInUse) {
            context.state.snapshot_is_stale.store(1);
        }
        throw;
    }
}

// Before what was read by these names counts.
void
CheckNames(WorkerContext &context, source::Connection &source, const std::vector<CopyTask> &tasks) {
    TellOfStaleSnapshot(context, [&] { stage::CheckSourceNames(source, SourceTables(tasks)); });
}

// Durable first, then seen: the figures may lag behind the catalog, never run ahead of it.
void
CommitParts(WorkerContext &context, pg::Transaction &transaction,
            const std::vector<FinishedPart> &finished) {
    const uint64_t completed = FinishParts(finished);
    transaction.Commit();
    WorkFigures &work = context.state.work;
    for (const FinishedPart &part : finished) {
        if (part.task->table_id) {
            work.bytes_done.fetch_add(part.task->bytes);
            work.copied_bytes.fetch_add(part.bytes);
            work.rows_done.fetch_add(part.rows);
        }
    }
    work.tables_done.fetch_add(completed);
    context.slot.task_bytes.store(0);
    context.slot.task_rows.store(0);
    context.slot.task.store(0);
}

void
BeginTask(WorkerContext &context, const CopyTask &task, const std::string &what) {
    SetDoing(context.slot, what);
    context.slot.task_bytes.store(0);
    context.slot.task_rows.store(0);
    context.slot.task.store(task.id);
}

void
CopyLargeObjectRange(WorkerContext &context, source::Connection &source, const CopyTask &task) {
    const size_t dash = task.condition.find('-');
    const auto first = static_cast<uint32_t>(std::stoul(task.condition.substr(0, dash)));
    const auto last = static_cast<uint32_t>(std::stoul(task.condition.substr(dash + 1)));
    BeginTask(context, task, "copying large objects " + task.condition);
    const int64_t started = GetCurrentTimestamp();
    pg::Transaction transaction;
    const stage::LargeObjectCopied copied =
        stage::CopyLargeObjects(source, first, last, [&](uint64_t bytes, uint64_t objects) {
            context.slot.task_bytes.store(bytes);
            context.slot.task_rows.store(objects);
        });
    stage::CopyLargeObjectRights(
        source, first, last,
        {context.migration.settings.owner, context.migration.settings.privileges});
    CommitParts(context, transaction, {Finished(task, copied.objects, copied.bytes, started)});
}

// In the caller's transaction.
FinishedPart
CopyTablePart(WorkerContext &context, source::Connection &source, const CopyTask &task,
              const stage::ColumnsOfTables &columns) {
    BeginTask(context, task,
              "copying " + task.schema + "." + task.name +
                  (task.parts > 1 ? " part " + std::to_string(task.part + 1) + " of " +
                                        std::to_string(task.parts)
                                  : ""));
    // Rows may be written frozen when nobody uses the table yet: this migration made or emptied it.
    const OnExisting existing = context.migration.settings.on_existing;
    const stage::Freeze freeze =
        task.parts > 1 || !task.may_truncate || existing == OnExisting::kSkipSchema
            ? stage::Freeze::kNo
            : (existing == OnExisting::kError ? stage::Freeze::kOurs : stage::Freeze::kExisting);
    const auto own = columns.find(task.source_oid);
    const int64_t started = GetCurrentTimestamp();
    const stage::CopiedPart copied = stage::CopyPartData(
        source, task, own == columns.end() ? std::vector<stage::CopyColumn>() : own->second, freeze,
        {&context.slot.task_bytes, &context.slot.task_rows, &context.slot.silent_since});
    context.longest_row = std::max(context.longest_row, copied.longest_row);
    return Finished(task, copied.rows, copied.bytes, started);
}

source::Connection
OpenSource(WorkerContext &context) {
    return stage::OpenSnapshotSession(context.migration.settings.source,
                                      context.migration.snapshot_name, &context.slot.silent_since);
}

// In place of a session that is of no use any more, which ends first: the source never has more of
// them than there are copy workers.
void
ReopenSource(WorkerContext &context, source::Connection &source) {
    source.Close();
    source = OpenSource(context);
}

// A statement that waits for the coordinator's lock on a table, ALTER TABLE say, holds ours up,
// which the source's deadlock detector cannot know.
void
LockTables(WorkerContext &context, source::Connection &source, const std::vector<CopyTask> &tasks) {
    const std::vector<stage::SourceTableName> tables = SourceTables(tasks);
    SetDoing(context.slot, "locking tables of the source");
    SourceMonitor monitor(context.migration.settings.source);
    const auto check = [&] { CheckCoordinator(context.state); };
    const auto show_holders = [&] {
        check();
        SourceBlockers holders;
        const std::optional<Error> unanswered =
            monitor.Ask(kMostLookTime, check, [&](source::Connection &asked, const auto &observer) {
                holders = FindLockHolders(asked, PQbackendPID(source.raw()), observer);
            });
        SetDoing(context.slot,
                 "waiting for a lock on " + tables[0].schema + "." + tables[0].name +
                     (tables.size() == 1 ? "" : " and others") + " of the source" +
                     (unanswered ? ": " + unanswered->MessageWithDetail() : holders.who));
        context.slot.source_holder.store(holders.who.empty() ? 0
                                         : holders.pid != 0  ? holders.pid
                                                             : -1);
    };
    try {
        TellOfStaleSnapshot(context,
                            [&] { stage::LockSourceTables(source, tables, show_holders); });
    } catch (const Error &) {
        context.slot.source_holder.store(0);
        throw;
    }
    context.slot.source_holder.store(0);
}

// Throws if the error would meet all other tables, too; a stale snapshot, whatever it looked like.
void
ThrowIfItConcernsAll(const WorkerContext &context, const Error &error) {
    if (context.state.snapshot_is_stale.load() != 0) {
        throw Error(sqlstate::kObjectInUse, "the source's snapshot is of no use any more")
            .Detail(error.message());
    }
    if (error.sqlstate() == sqlstate::kDiskFull) {
        throw error;
    }
}

stage::ColumnsOfTables
PrepareSource(WorkerContext &context, source::Connection &source,
              const std::vector<CopyTask> &tasks) {
    std::vector<uint32_t> tables;
    for (const CopyTask &task : tasks) {
        if (task.table_id) {
            tables.push_back(task.source_oid);
        }
    }
    LockTables(context, source, tasks);
    SetDoing(context.slot, "reading the columns of tables");
    return tables.empty() ? stage::ColumnsOfTables() : stage::ListCopyColumns(source, tables);
}

// An error is the part's own if the source still gives a session under the snapshot, which we need
// anyway: the old one is in the middle of a COPY. It is kept with the part, and other parts go on.
// If the source gives none, that is the error, which delays all.
void
CopyOnePart(WorkerContext &context, source::Connection &source, const CopyTask &task) {
    try {
        const stage::ColumnsOfTables columns = PrepareSource(context, source, {task});
        if (task.table_id) {
            pg::Transaction transaction;
            const FinishedPart part = CopyTablePart(context, source, task, columns);
            CheckNames(context, source, {task});
            CommitParts(context, transaction, {part});
        } else {
            CopyLargeObjectRange(context, source, task);
        }
    } catch (const Error &error) {
        ThrowIfItConcernsAll(context, error);
        ReopenSource(context, source);
        CheckNames(context, source, {task}); // a table that is another one now fails in many ways
        pg::Transaction transaction;
        KeepPartError(task, error);
        transaction.Commit();
    }
}

// Small tables in one transaction. False when one of them met an error, which one is then to be
// found by copying each alone.
bool
CopyTogether(WorkerContext &context, source::Connection &source,
             const std::vector<CopyTask> &tasks) {
    try {
        const stage::ColumnsOfTables columns = PrepareSource(context, source, tasks);
        pg::Transaction transaction;
        std::vector<FinishedPart> finished;
        for (const CopyTask &task : tasks) {
            finished.push_back(CopyTablePart(context, source, task, columns));
        }
        CheckNames(context, source, tasks);
        CommitParts(context, transaction, finished);
        return true;
    } catch (const Error &error) {
        ThrowIfItConcernsAll(context, error);
        ReopenSource(context, source);
        return false;
    }
}

void
CopyParts(WorkerContext &context, source::Connection &source, const std::vector<CopyTask> &tasks) {
    if (tasks.size() > 1 && CopyTogether(context, source, tasks)) {
        return;
    }
    for (const CopyTask &task : tasks) {
        CheckCoordinator(context.state);
        CopyOnePart(context, source, task);
    }
}

// Durable: if what is claimed takes the server down with it, that was an attempt.
template <typename F>
auto
ClaimDurably(const F &claim) {
    pg::SetConfig("synchronous_commit", "local");
    pg::Transaction transaction;
    auto claimed = claim();
    transaction.Commit();
    pg::SetConfig("synchronous_commit", "off");
    return claimed;
}

std::vector<CopyTask>
Claim(WorkerContext &context) {
    return ClaimDurably([&] {
        return ClaimParts(context.migration.id, static_cast<int>(context.arguments.slot),
                          static_cast<int>(context.migration.settings.table_jobs));
    });
}

void
RunCopy(WorkerContext &context) {
    pg::SetConfig("session_replication_role", "replica");
    {
        pg::Transaction transaction;
        pg::AdaptExtensions();
        transaction.Commit();
    }
    SetDoing(context.slot, "connecting to the source");
    source::Connection source = OpenSource(context);
    for (;;) {
        CheckCoordinator(context.state);
        const std::vector<CopyTask> tasks = Claim(context);
        if (tasks.empty()) {
            return;
        }
        if (context.longest_row > kLongestRowKept) {
            ReopenSource(context, source);
            context.longest_row = 0;
        }
        CopyParts(context, source, tasks);
    }
}

void
CountDone(WorkerContext &context, size_t jobs) {
    // Those that wait for the cutover are not among the work that is shown.
    if (context.state.job_phase.load() < static_cast<uint32_t>(JobPhase::kLast)) {
        context.state.work.jobs_done.fetch_add(jobs);
    }
}

// A table that cannot be analyzed, because a value of it has no place in statistics for example, is
// the same on the source: no reason to end a migration.
void
SkipAnalyze(const SchemaJob &job, const Error &error) {
    pg::Transaction transaction;
    SkipJob(job, error.message());
    RecordEvent(job.migration, "warning", Stage::kIndexes,
                "table " + QualifiedName(job.schema, job.table) +
                    " could not be analyzed: " + error.message(),
                job.sql + ";");
    transaction.Commit();
}

// While the data stage runs, whose job_phase ends with the indexes.
bool
IsBesideCopy(const SharedState &state) {
    return state.job_phase.load() == static_cast<uint32_t>(JobPhase::kIndexes);
}

// In the caller's transaction.
FinishedJob
RunInTransaction(WorkerContext &context, const SchemaJob &job) {
    context.slot.task.store(job.id);
    SetDoing(context.slot, job.kind + (job.object.empty() ? "" : " " + job.object) +
                               (job.table.empty() ? "" : " on " + job.schema + "." + job.table));
    const int64_t started = GetCurrentTimestamp();
    const std::string note = stage::RunJob(job);
    if (!note.empty()) {
        RecordEvent(context.migration.id, "warning", context.migration.stage, note);
    }
    return {&job, started, GetCurrentTimestamp()};
}

void
CommitJobs(WorkerContext &context, pg::Transaction &transaction,
           const std::vector<FinishedJob> &finished) {
    FinishJobs(finished);
    transaction.Commit();
    context.slot.task.store(0);
    CountDone(context, finished.size());
}

// Not the source's: ANALYZE asks the servers of foreign partitions, which may lead to nowhere from
// here.
bool
IsForeignConnection(const Error &error) {
    return error.sqlstate().starts_with("08");
}

// False when the job's error is kept for the next stage.
bool
RunOneJob(WorkerContext &context, const SchemaJob &job) {
    try {
        pg::Transaction transaction;
        CommitJobs(context, transaction, {RunInTransaction(context, job)});
        return true;
    } catch (const Error &error) {
        if (job.kind == "analyze" &&
            (!IsTransient(error.sqlstate()) || IsForeignConnection(error))) {
            SkipAnalyze(job, error);
            CountDone(context, 1);
            return true;
        }
        if (IsTransient(error.sqlstate())) {
            throw;
        }
        pg::Transaction transaction;
        FailJob(job, error);
        transaction.Commit();
        // While tables are still copied, these come first: the next stage tries again, and fails.
        if (!IsBesideCopy(context.state)) {
            throw;
        }
        return false;
    }
}

// Statements on small tables in one transaction. False when one of them met a permanent error,
// which one is then to be found by running each alone.
bool
RunTogether(WorkerContext &context, const std::vector<SchemaJob> &jobs) {
    try {
        pg::Transaction transaction;
        std::vector<FinishedJob> finished;
        for (const SchemaJob &job : jobs) {
            finished.push_back(RunInTransaction(context, job));
        }
        CommitJobs(context, transaction, finished);
        return true;
    } catch (const Error &error) {
        if (IsTransient(error.sqlstate()) && !IsForeignConnection(error)) {
            throw;
        }
        return false;
    }
}

void
RunClaimed(WorkerContext &context, const std::vector<SchemaJob> &jobs) {
    if (jobs.size() > 1 && RunTogether(context, jobs)) {
        return;
    }
    for (const SchemaJob &job : jobs) {
        CheckCoordinator(context.state);
        if (!RunOneJob(context, job)) {
            // What else was claimed may have to wait for it: it is claimed again, or not.
            pg::Transaction transaction;
            ReleaseClaims(job.migration, static_cast<int>(context.arguments.slot));
            transaction.Commit();
            return;
        }
    }
}

void
RunIndex(WorkerContext &context) {
    pg::SetConfig("synchronous_commit", "off");
    const std::string memory = std::to_string(pg::IndexMemory(
        static_cast<int>(context.migration.settings.index_jobs), maintenance_work_mem));
    pg::SetConfig("maintenance_work_mem", memory.c_str());
    const std::string parallel = std::to_string(
        pg::IndexParallelWorkers(static_cast<int>(context.migration.settings.index_jobs)));
    pg::SetConfig("max_parallel_maintenance_workers", parallel.c_str());
    milliseconds pause = kShortestJobPause;
    for (;;) {
        CheckCoordinator(context.state);
        const auto last_phase = static_cast<int>(context.state.job_phase.load());
        int64_t unfinished = 0;
        const std::vector<SchemaJob> jobs = ClaimDurably([&] {
            std::vector<SchemaJob> claimed =
                ClaimJobs(context.migration.id, static_cast<int>(context.arguments.slot),
                          static_cast<int>(context.migration.settings.index_jobs), last_phase);
            if (claimed.empty()) {
                unfinished = CountUnfinishedJobs(context.migration.id, last_phase);
            }
            return claimed;
        });
        if (!jobs.empty()) {
            RunClaimed(context, jobs);
            pause = kShortestJobPause;
        } else if (unfinished == 0 || (IsBesideCopy(context.state) && pause >= kLongestJobPause)) {
            return; // the coordinator starts another one when a table is complete
        } else {
            // Another worker has a phase to itself, or the last jobs of one are running.
            SetDoing(context.slot, IsBesideCopy(context.state)
                                       ? "waiting for a table to be complete"
                                       : "waiting for jobs of an earlier phase");
            pg::SleepOnLatch(pause);
            pause = std::min(pause * 2, kLongestJobPause);
        }
    }
}

void
Dispatch(WorkerContext &context) {
    switch (static_cast<WorkerKind>(context.slot.kind.load())) {
    case WorkerKind::kReceiver:
        RunReceiver(context.state, context.slot, context.arguments.database, context.migration);
        return;
    case WorkerKind::kApply:
        RunApplyWorker(context.migration, context.arguments.database, context.state, context.slot);
        return;
    case WorkerKind::kCopy:
        RunCopy(context);
        return;
    case WorkerKind::kIndex:
        RunIndex(context);
        return;
    default:
        return;
    }
}

// Runs at exit, however it comes: FATAL and proc_exit run no destructors.
void
ClearSlot(int, Datum argument) {
    auto *slot = reinterpret_cast<WorkerSlot *>(DatumGetPointer(argument));
    slot->silent_since.store(0);
    slot->source_holder.store(0);
    slot->pid.store(0);
}

void
RunWorker(const pg::WorkerArguments &arguments, SharedSegment &segment) {
    SharedState &state = segment.state();
    WorkerSlot &slot = state.workers[arguments.slot];
    if (slot.generation.load() != arguments.generation) {
        return; // started late, and replaced meanwhile
    }
    slot.pid.store(MyProcPid);
    pg::Call([&] { before_shmem_exit(ClearSlot, PointerGetDatum(&slot)); });
    try {
        std::optional<Migration> migration;
        {
            pg::Transaction transaction;
            CheckVersion();
            Acquire(arguments.migration, LockClass::kWorkers, LockStrength::kShared);
            migration = LoadMigration(arguments.migration);
            transaction.Commit();
        }
        if (!migration) {
            return;
        }
        WorkerContext context{arguments, state, slot, std::move(*migration)};
        Dispatch(context);
        slot.outcome.store(static_cast<uint32_t>(WorkerOutcome::kFinished));
    } catch (const pg::Stopped &) {
        return; // by the coordinator, which waits for the end of the process
    } catch (const Error &error) {
        StoreError(slot.error, error);
        slot.outcome.store(static_cast<uint32_t>(WorkerOutcome::kFailed));
    } catch (const std::exception &error) {
        StoreError(slot.error, Error(sqlstate::kInternalError, error.what()));
        slot.outcome.store(static_cast<uint32_t>(WorkerOutcome::kFailed));
    }
    pg::WakeProcess(state.coordinator_pid.load());
}

void
WorkerMain() {
    const pg::WorkerArguments arguments = pg::EnterWorker();
    std::optional<SharedSegment> segment;
    {
        pg::Transaction transaction;
        segment = SharedSegment::Attach(arguments.dsm_handle, arguments.migration);
        transaction.Commit();
    }
    if (segment) {
        RunWorker(arguments, *segment);
        // The exit callback still writes to the segment: leave the mapping to process exit.
        new SharedSegment(std::move(*segment));
    }
}

} // namespace

} // namespace livemigrate::control

extern "C" {
PGDLLEXPORT void livemigrate_worker_main(Datum argument);
}

void
livemigrate_worker_main(Datum) {
    using namespace livemigrate;
    pg::InstallStopHandler(); // while signals are blocked
    pg::Entry([] {
        try {
            control::WorkerMain();
        } catch (const pg::Stopped &) {
            // Before it had begun.
        }
    });
}
