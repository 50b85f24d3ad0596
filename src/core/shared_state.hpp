// What the processes of one migration share: who runs, and live counters. Nothing here is needed
// after a restart; the catalog tables and the replication origin hold the state.
//
// Lives in a dynamic shared memory segment made by the coordinator (control/shared_memory). Plain
// lock-free atomics: each has one writer unless said otherwise.
#pragma once

#include "core/apply_hold.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace livemigrate {

enum class WorkerKind : uint32_t { kNone, kCoordinator, kReceiver, kApply, kCopy, kIndex };

const char *WorkerKindName(WorkerKind kind);

// How a worker ended; written by the worker, read by the coordinator after it is gone.
enum class WorkerOutcome : uint32_t {
    kUnknown,  // it runs, or died without a word
    kFinished, // its work is done
    kFailed,   // error holds why
};

struct SharedError {
    char sqlstate[6];
    char message[1024];
    char detail[4096];
    char hint[16384]; // statements for every column of a table that was changed
    char context[1024];
};

struct WorkerSlot {
    std::atomic<uint32_t> generation; // bumped by the coordinator each time the slot is given out
    std::atomic<uint32_t> kind;       // WorkerKind; kNone when free
    std::atomic<int32_t> pid;         // 0 until the worker runs and after it ended
    std::atomic<uint32_t> outcome;    // WorkerOutcome
    std::atomic<int64_t> since;       // TimestampTz of what it does now
    std::atomic<uint32_t> member;     // which of its kind: no two that run have the same
    std::atomic<int64_t> task;        // copy_part.id or schema_job.id it works on
    std::atomic<uint64_t> task_bytes; // of this task, so far
    std::atomic<uint64_t> task_rows;
    std::atomic<int64_t> silent_since; // TimestampTz: it waits for the source; 0: it does not
    // Process of the source that has a lock it waits for there, -1 if that is none; 0: it does not.
    std::atomic<int32_t> source_holder;
    char what[320];    // for the eye only: may be read torn
    SharedError error; // valid when outcome is kFailed
};

// One of the apply workers, each of which applies its share of every transaction.
struct ApplyWorkerState {
    std::atomic<int32_t> pid;
    std::atomic<uint64_t> applied_lsn; // its share of all that ends up to here is committed
    std::atomic<uint64_t> flushed_lsn; // and on disk, with an origin that says so
    std::atomic<uint64_t> drained_lsn; // received_lsn at which nothing was left to it
    std::atomic<int64_t> commit_time;  // at applied_lsn: source clock, TimestampTz
    std::atomic<uint64_t> arrived_lsn; // its share of all that commits before here is committed
    std::atomic<uint64_t> committing;  // end LSN of the batch being committed
    std::atomic<uint64_t> held;        // the hold (core/apply_hold) that it stands at
    std::atomic<uint64_t> ended_at;    // the endpos that it ended at; 0: it has not
    std::atomic<uint64_t> keep_from;   // the segment of the spool that it would start from
};

inline constexpr size_t kMaxApplyWorkers = 32;
inline constexpr size_t kMaxWorkers = 96;
inline constexpr uint64_t kSharedStateMagic = 0x4c4d53484d303037; // "LMSHM007"

// How much of copy and indexes there is and is done.
struct WorkFigures {
    std::atomic<uint64_t> tables; // whose rows are copied
    std::atomic<uint64_t> tables_done;
    std::atomic<uint64_t> bytes;
    std::atomic<uint64_t> bytes_done;   // as in `bytes`, of parts that are done
    std::atomic<uint64_t> copied_bytes; // of these, in COPY's format
    std::atomic<uint64_t> rows_done;
    std::atomic<uint64_t>
        jobs; // statements after the data, but for those that wait for the cutover
    std::atomic<uint64_t> jobs_done;
    std::atomic<int64_t> jobs_end_at; // by their speed so far, a TimestampTz; 0: cannot be said
};

struct SharedState {
    uint64_t magic;
    int32_t migration;
    int32_t reserved;

    std::atomic<int32_t> coordinator_pid; // 0 when it ended: its workers then end too
    std::atomic<uint32_t> stop;           // set by migration_abort: the coordinator leaves at once

    // Copy: a worker found that a table's name leads elsewhere than the snapshot says, so that a
    // new snapshot is needed.
    std::atomic<uint32_t> snapshot_is_stale;

    // Receiver.
    std::atomic<uint64_t> received_lsn;    // everything that commits up to here has been received
    std::atomic<uint64_t> written_segment; // spool is written up to here; two words, see
    std::atomic<uint64_t> written_offset;  // PublishSpoolPosition
    std::atomic<uint32_t> written_version; // odd while the two are being changed
    std::atomic<uint64_t> flushed_lsn;     // end of the last transaction wholly on disk
    std::atomic<uint64_t> spool_bytes;
    std::atomic<uint32_t> spool_is_known; // a receiver has read all of it under this coordinator
    std::atomic<uint32_t> spool_hold;     // SpoolHold
    std::atomic<uint32_t> spool_holds;    // a bit for each since the coordinator cleared it
    std::atomic<int64_t> source_clock_offset; // source clock minus ours, microseconds

    // Apply.
    std::atomic<uint32_t> apply_workers; // how many there are, set by the coordinator
    ApplyWorkerState apply[kMaxApplyWorkers];

    // Of all apply workers together, written by any of them, see core/apply_progress.
    std::atomic<uint64_t> applied_lsn;         // committed on the target
    std::atomic<uint64_t> applied_flushed_lsn; // and flushed to its disk
    std::atomic<uint64_t> drained_lsn;         // received_lsn at which nothing was left to apply
    std::atomic<int64_t> applied_commit_time;  // source clock, TimestampTz
    std::atomic<uint64_t> transactions_applied;
    std::atomic<uint64_t> changes_applied;
    std::atomic<uint64_t> changes_skipped;         // of tables left out on request
    std::atomic<uint64_t> changes_in_source_order; // their net effect could not be written
    std::atomic<uint64_t> endpos_reached;          // the endpos that apply ended at; 0: it has not

    // endpos is stored by a session (set_endpos), then `committing` of each apply worker is read; a
    // worker stores committing, then reads endpos. Both sequentially consistent: at least one sees
    // the other.
    std::atomic<uint64_t> endpos;   // 0: none
    std::atomic<uint64_t> level_at; // stands in for endpos while the workers come to one position
    std::atomic<uint32_t> pruning;  // the first apply worker removes segments of the spool
    std::atomic<uint32_t> conflict; // an apply worker has met one, and tells of it

    // Sessions that have apply wait; see core/apply_hold.
    ApplyHold hold;
    EndposHold endpos_hold;

    // Coordinator.
    std::atomic<uint64_t> source_lsn;          // the source's write position, polled
    std::atomic<double> copy_bytes_per_second; // smoothed over some seconds
    std::atomic<double> changes_per_second;
    std::atomic<double> apply_bytes_per_second;  // of the source's WAL
    std::atomic<double> source_bytes_per_second; // WAL written there
    std::atomic<uint64_t> worker_failures;       // workers that ended in a way that is tried again
    std::atomic<uint32_t> try_again;             // set by migration_resume: the next attempt is now
    std::atomic<uint32_t> job_phase;             // index workers run jobs up to this phase

    // What table_copy and schema_job hold, so that nobody has to add up thousands of rows to show
    // it: set by the coordinator when no worker of the kind runs, then added to by workers after
    // each of their commits.
    WorkFigures work;

    // The slot as the source shows it, polled.
    std::atomic<int64_t> slot_retained_bytes; // WAL kept for it
    std::atomic<int64_t> slot_safe_bytes;     // more WAL until the source drops it; -1: no limit
    std::atomic<int64_t> slot_xmin_age;       // transactions; the catalog's rows kept for it

    WorkerSlot workers[kMaxWorkers];
};

static_assert(std::atomic<uint64_t>::is_always_lock_free);
static_assert(std::atomic<double>::is_always_lock_free);

} // namespace livemigrate
