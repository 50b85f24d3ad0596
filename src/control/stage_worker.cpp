// The main function of receiver, apply, copy and index workers: attach to the migration's shared
// memory, do the one thing, leave the outcome in the slot.

#include "pg/prelude.hpp"

#include "control/advisory_lock.hpp"
#include "control/apply_origins.hpp"
#include "control/apply_worker.hpp"
#include "control/catalog.hpp"
#include "control/shared_memory.hpp"
#include "control/spool_identity.hpp"
#include "control/table_selection.hpp"
#include "control/version_check.hpp"
#include "control/work_directory.hpp"
#include "core/retry_policy.hpp"
#include "core/sql_text.hpp"
#include "pg/background_worker.hpp"
#include "pg/guard.hpp"
#include "pg/guc.hpp"
#include "pg/stop_request.hpp"
#include "pg/transaction.hpp"
#include "pg/wait.hpp"
#include "stage/copy.hpp"
#include "stage/index.hpp"
#include "stage/large_objects.hpp"
#include "stage/receive.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>

namespace livemigrate::control {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kShortestJobPause{10};
constexpr milliseconds kLongestJobPause{250};

// What a worker knows about itself; lives on the stack of its main function.
struct WorkerContext {
    pg::WorkerArguments arguments;
    SharedState &state;
    WorkerSlot &slot;
    Migration migration;
};

class SharedReceiveObserver final : public stage::ReceiveObserver {
  public:
    SharedReceiveObserver(SharedState &state, WorkerSlot &slot) : state_(state), slot_(slot) {}

    void
    Written(SpoolPosition position, Lsn received) override {
        CheckCoordinator(state_);
        const bool news = position != last_position_ || received.value != state_.received_lsn;
        // The position first: who reads received_lsn, then the position, sees all below it.
        PublishSpoolPosition(state_, position.segment, position.offset);
        state_.received_lsn.store(received.value);
        last_position_ = position;
        if (news) {
            WakeApply(state_);
        }
    }
    void
    Flushed(Lsn flushed, uint64_t spool_bytes) override {
        state_.flushed_lsn.store(flushed.value);
        state_.spool_bytes.store(spool_bytes);
    }
    void
    Held(SpoolHold hold) override {
        CheckCoordinator(state_);
        state_.spool_hold.store(static_cast<uint32_t>(hold));
        state_.spool_holds.fetch_or(SpoolHoldBit(hold));
    }
    void
    SourceClock(int64_t offset) override {
        state_.source_clock_offset.store(offset);
    }
    Lsn
    Applied() override {
        return Lsn{state_.applied_lsn.load()};
    }
    Lsn
    AppliedFlushed() override {
        return Lsn{state_.applied_flushed_lsn.load()};
    }
    Lsn
    SourcePosition() override {
        return Lsn{state_.source_lsn.load()};
    }
    bool
    ApplyDrained() override {
        return state_.drained_lsn.load() != 0 &&
               state_.drained_lsn.load() >= state_.received_lsn.load();
    }
    void
    Doing(const std::string &what) override {
        SetDoing(slot_, what);
    }

  private:
    SharedState &state_;
    WorkerSlot &slot_;
    SpoolPosition last_position_;
};

void
RunReceiver(WorkerContext &context) {
    const Migration &migration = context.migration;
    stage::ReceiveSettings settings;
    settings.conninfo = migration.settings.source;
    settings.slot = migration.slot_name;
    settings.plugin = *migration.plugin;
    settings.publications = migration.publications;
    settings.wal2json_numeric_option = migration.wal2json_numeric_option;
    settings.system_identifier = migration.source_system_identifier;
    settings.spool_directory = WorkDirectory(context.arguments.database, migration.id).spool();
    settings.spool_identity = IdentityOf(migration);
    settings.snapshot_lsn = migration.snapshot_lsn;
    settings.spool_segment_size = pg::SpoolSegmentSize();
    {
        pg::Transaction transaction;
        settings.origin_progress =
            ReadOrigins(migration.origin_name, migration.settings.apply_jobs, true).least;
        transaction.Commit();
    }
    context.state.receiver_pid.store(MyProcPid);
    SharedReceiveObserver observer(context.state, context.slot);
    SetDoing(context.slot, "connecting to the source");
    stage::Receive(settings, observer);
}

void
CopyLargeObjectRange(WorkerContext &context, source::Connection &source, const CopyTask &task) {
    const size_t dash = task.condition.find('-');
    const auto first = static_cast<uint32_t>(std::stoul(task.condition.substr(0, dash)));
    const auto last = static_cast<uint32_t>(std::stoul(task.condition.substr(dash + 1)));
    SetDoing(context.slot, "copying large objects " + task.condition);
    pg::Transaction transaction;
    const stage::LargeObjectCopied copied =
        stage::CopyLargeObjects(source, first, last, [&](uint64_t bytes, uint64_t objects) {
            context.slot.task_bytes.store(bytes);
            context.slot.task_rows.store(objects);
        });
    FinishPart(task, copied.objects, copied.bytes);
    transaction.Commit();
}

void
CopyTablePart(WorkerContext &context, source::Connection &source, const CopyTask &task) {
    SetDoing(context.slot, "copying " + task.schema + "." + task.name +
                               (task.parts > 1 ? " part " + std::to_string(task.part + 1) + " of " +
                                                     std::to_string(task.parts)
                                               : ""));
    // Rows may be written frozen when nobody can have seen the table: this migration made it.
    const bool freeze = task.parts == 1 && task.may_truncate &&
                        context.migration.settings.on_existing == OnExisting::kError;
    pg::Transaction transaction;
    const stage::CopiedPart copied = stage::CopyPartData(
        source, task, freeze, {&context.slot.task_bytes, &context.slot.task_rows});
    FinishPart(task, copied.rows, copied.bytes);
    transaction.Commit();
}

// False when a permanent error met the part: it is kept for the end of the stage, so that other
// tables are completed first. The session on the source is then in the middle of a COPY.
bool
CopyOnePart(WorkerContext &context, source::Connection &source, const CopyTask &task) {
    try {
        if (task.table_id) {
            CopyTablePart(context, source, task);
        } else {
            CopyLargeObjectRange(context, source, task);
        }
        return true;
    } catch (const Error &error) {
        if (IsTransient(error.sqlstate()) || error.sqlstate() == sqlstate::kDiskFull) {
            throw; // would meet all others, too
        }
        pg::Transaction transaction;
        FailPart(task, error);
        RecordEvent(context.migration.id, "error", Stage::kData, error.message(),
                    error.detail() + (error.context().empty() ? "" : "\n" + error.context()));
        transaction.Commit();
        return false;
    }
}

void
RunCopy(WorkerContext &context) {
    pg::SetConfig("session_replication_role", "replica");
    pg::SetConfig("synchronous_commit", "off");
    SetDoing(context.slot, "connecting to the source");
    source::Connection source = stage::OpenSnapshotSession(context.migration.settings.source,
                                                           context.migration.snapshot_name);
    for (;;) {
        CheckCoordinator(context.state);
        std::optional<CopyTask> task;
        {
            pg::Transaction transaction;
            task = ClaimPart(context.migration.id, static_cast<int>(context.arguments.slot));
            transaction.Commit();
        }
        if (!task) {
            return;
        }
        context.slot.task_bytes.store(0);
        context.slot.task_rows.store(0);
        context.slot.task.store(task->id);
        if (!CopyOnePart(context, source, *task)) {
            return;
        }
        context.slot.task.store(0);
    }
}

// A table that cannot be analyzed, because a value of it has no place in statistics for example, is
// the same on the source: no reason to end a migration.
void
SkipAnalyze(const SchemaJob &job, const Error &error) {
    pg::Transaction transaction;
    FinishJob(job, true, error.message());
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

void
RunOneJob(WorkerContext &context, const SchemaJob &job) {
    context.slot.task.store(job.id);
    SetDoing(context.slot, job.kind + (job.object.empty() ? "" : " " + job.object) +
                               (job.table.empty() ? "" : " on " + job.schema + "." + job.table));
    try {
        pg::Transaction transaction;
        stage::RunJob(job);
        FinishJob(job, false, "");
        transaction.Commit();
    } catch (const Error &error) {
        if (job.kind == "analyze" && !IsTransient(error.sqlstate())) {
            SkipAnalyze(job, error);
            return;
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
    }
    context.slot.task.store(0);
}

void
RunIndex(WorkerContext &context) {
    pg::SetConfig("synchronous_commit", "off");
    const std::string memory = std::to_string(pg::IndexMemory(
        static_cast<int>(context.migration.settings.index_jobs), maintenance_work_mem));
    pg::SetConfig("maintenance_work_mem", memory.c_str());
    milliseconds pause = kShortestJobPause;
    for (;;) {
        CheckCoordinator(context.state);
        const auto last_phase = static_cast<int>(context.state.job_phase.load());
        std::optional<SchemaJob> job;
        int64_t unfinished = 0;
        {
            pg::Transaction transaction;
            job = ClaimJob(context.migration.id, static_cast<int>(context.arguments.slot),
                           last_phase);
            if (!job) {
                unfinished = CountUnfinishedJobs(context.migration.id, last_phase);
            }
            transaction.Commit();
        }
        if (job) {
            RunOneJob(context, *job);
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
        RunReceiver(context);
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
