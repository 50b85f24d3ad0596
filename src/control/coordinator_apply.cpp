// The apply workers: started together, with the same idea of who applies what; and what is kept
// across restarts: what they count, and errors.

#include "pg/prelude.hpp"

#include "control/apply_dealing.hpp"
#include "control/apply_origins.hpp"
#include "control/coordinator.hpp"
#include "core/apply_progress.hpp"
#include "core/retry_policy.hpp"
#include "pg/transaction.hpp"

namespace livemigrate::control {

void
Coordinator::EnsureApply() {
    const int workers = migration_.settings.apply_jobs;
    if (pool_.Running(WorkerKind::kApply) == 0 && !pool_.IsDelayed(WorkerKind::kApply)) {
        PrepareApply();
    }
    // One that has ended at an endpos which is not that any more goes on.
    pool_.EnsureMembers(WorkerKind::kApply, workers, [this](int member) {
        const uint64_t ended_at = state_.apply[member].ended_at.load();
        return ended_at == 0 || ended_at != state_.endpos.load();
    });
}

bool
Coordinator::ApplyHasEnded() const {
    return state_.endpos_reached.load() != 0;
}

// Before any of them runs. The dealing follows the target's tables, in which somebody may have made
// an index or a trigger; it changes only when all workers have applied the same.
void
Coordinator::PrepareApply() {
    const int workers = migration_.settings.apply_jobs;
    state_.conflict.store(0);
    state_.level_at.store(0);
    RouteRows();
    if (workers == 1) {
        return;
    }
    for (;;) {
        pg::Transaction transaction;
        const Dealings kept = LoadDealings(migration_.id);
        const Dealings now = DecideDealings(migration_.id);
        const OriginPositions origins = ReadOrigins(migration_.origin_name, workers, false);
        if (kept == now) {
            transaction.Commit();
            return;
        }
        if (origins.least == origins.furthest) {
            StoreDealings(migration_.id, now);
            if (!kept.empty()) {
                RecordEvent(migration_.id, "info", migration_.stage,
                            "changes are dealt to the apply workers anew",
                            "Indexes or triggers of the target have changed.");
            }
            transaction.Commit();
            return;
        }
        transaction.Commit();
        LevelApply(origins.furthest);
    }
}

void
Coordinator::LevelApply(Lsn level) {
    ForgetEnds(state_);
    state_.level_at.store(level.value);
    while (state_.endpos_reached.load() != level.value) {
        pool_.Ensure(WorkerKind::kReceiver, 1);
        pool_.EnsureMembers(WorkerKind::kApply, migration_.settings.apply_jobs, [&](int member) {
            return state_.apply[member].ended_at.load() != level.value;
        });
        Tick("bringing all apply workers to " + level.ToString());
    }
    pool_.Stop(WorkerKind::kApply);
    state_.level_at.store(0);
    ForgetEnds(state_);
}

void
Coordinator::RestoreCounters() {
    pg::Transaction transaction;
    const KeptCounters kept = LoadCounters(migration_.id);
    transaction.Commit();
    state_.source_lsn.store(kept.source_lsn);
    state_.flushed_lsn.store(kept.flushed_lsn);
    state_.transactions_applied.store(kept.transactions_applied);
    state_.changes_applied.store(kept.changes_applied);
    state_.changes_skipped.store(kept.changes_skipped);
}

void
Coordinator::KeepCounters() {
    const KeptCounters counters = {
        state_.source_lsn.load(),      state_.received_lsn.load(),
        state_.flushed_lsn.load(),     state_.transactions_applied.load(),
        state_.changes_applied.load(), state_.changes_skipped.load()};
    pg::Transaction transaction;
    control::KeepCounters(migration_.id, counters);
    transaction.Commit();
}

// False while not even this can be written, for want of disk space.
bool
Coordinator::KeepFailure(const Error &error, bool is_new, std::chrono::milliseconds delay) {
    const bool transient = IsTransient(error.sqlstate());
    const State before = migration_.state;
    try {
        pg::Transaction transaction;
        RecordError(migration_.id, error, migration_.attempts,
                    transient ? std::optional<int64_t>(delay.count()) : std::nullopt);
        if (is_new) {
            RecordEvent(migration_.id, transient ? "warning" : "error", migration_.stage,
                        error.message(), error.DetailWithContext());
        }
        TransitionTo(migration_, transient ? State::kRetrying : State::kFailed);
        transaction.Commit();
        return true;
    } catch (const Error &second) {
        if (second.sqlstate() != sqlstate::kDiskFull) {
            throw;
        }
        migration_.state = before;
        ereport(LOG, (errmsg("livemigrate: migration \"%s\": %s", migration_.settings.name.c_str(),
                             second.message().c_str())));
        return false;
    }
}

} // namespace livemigrate::control
