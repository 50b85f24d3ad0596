#include "pg/prelude.hpp"

#include "api/figures.hpp"

#include "control/apply_origins.hpp"
#include "core/replay_lag.hpp"
#include "pg/guard.hpp"

#include <algorithm>

namespace livemigrate::api {

std::optional<control::SharedSegment>
AttachTo(uint32_t handle, int32_t migration) {
    std::optional<control::SharedSegment> segment =
        control::SharedSegment::Attach(handle, migration);
    if (segment && segment->state().coordinator_pid.load() == 0) {
        return std::nullopt;
    }
    return segment;
}

uint64_t
OriginProgress(const std::string &origin, int workers) {
    return origin.empty() ? 0 : control::ReadOrigins(origin, workers, false).least.value;
}

void
AddLive(const SharedState &state, Figures &figures) {
    figures.live = true;
    figures.source_lsn = std::max(figures.source_lsn, state.source_lsn.load());
    figures.received_lsn = std::max(figures.received_lsn, state.received_lsn.load());
    figures.flushed_lsn = std::max(figures.flushed_lsn, state.flushed_lsn.load());
    // Idle positions of the stream count as applied.
    figures.applied_lsn =
        std::max({figures.applied_lsn, state.applied_lsn.load(), state.drained_lsn.load()});
    figures.spool_bytes = state.spool_bytes.load();
    figures.transactions = static_cast<int64_t>(state.transactions_applied.load());
    figures.changes = static_cast<int64_t>(state.changes_applied.load());
    figures.skipped = static_cast<int64_t>(state.changes_skipped.load());
    figures.copy_rate = state.copy_bytes_per_second.load();
    figures.change_rate = state.changes_per_second.load();
    figures.apply_rate = state.apply_bytes_per_second.load();
    figures.source_rate = state.source_bytes_per_second.load();
    const WorkFigures &work = state.work;
    auto load = [](const std::atomic<uint64_t> &figure) {
        return static_cast<int64_t>(figure.load());
    };
    figures.work = {load(work.tables),     load(work.tables_done), load(work.bytes),
                    load(work.bytes_done), load(work.rows_done),   load(work.jobs),
                    load(work.jobs_done)};
    if (const int64_t end = work.jobs_end_at.load(); end != 0) {
        figures.jobs_end_at = end;
    }
    figures.replay_lag = ReplayLag(state, GetCurrentTimestamp());
    for (const WorkerSlot &slot : state.workers) {
        if (slot.kind.load() == static_cast<uint32_t>(WorkerKind::kCopy)) {
            figures.running_bytes += static_cast<int64_t>(slot.task_bytes.load());
            figures.running_rows += static_cast<int64_t>(slot.task_rows.load());
        }
    }
}

} // namespace livemigrate::api
