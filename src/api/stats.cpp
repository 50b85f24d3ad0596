// migration_status and the functions behind the views.

#include "pg/prelude.hpp"

#include "api/arguments.hpp"
#include "api/sql_function.hpp"
#include "control/advisory_lock.hpp"
#include "control/catalog.hpp"
#include "control/shared_memory.hpp"
#include "core/migration_state.hpp"
#include "pg/sql_row.hpp"

#include <algorithm>

namespace livemigrate::api {

namespace {

using pg::SqlRow;
using pg::SqlValue;

// The columns of migration_status that come from tables, one query for all migrations wanted.
constexpr char kStatusQuery[] =
    "SELECT m.id, m.name, m.stage, m.stage_ended, m.state, m.message, m.hint, m.plugin, "
    "m.slot_name, m.snapshot_lsn, m.source_lsn, m.received_lsn, m.flushed_lsn, m.origin_name, "
    "m.endpos, t.total, t.done, t.bytes, t.bytes_done, t.rows_done, j.total, j.done, "
    "m.transactions_applied, m.changes_applied, m.changes_skipped, m.started_at, "
    "m.stage_started_at, m.attempts, m.last_error, m.dsm_handle "
    "FROM livemigrate.migration m "
    "CROSS JOIN LATERAL (SELECT pg_catalog.count(*) FILTER (WHERE c.copy_data) AS total, "
    "pg_catalog.count(*) FILTER (WHERE c.copy_data AND c.state = 'done') AS done, "
    "COALESCE(pg_catalog.sum(c.bytes) FILTER (WHERE c.copy_data), 0)::bigint AS bytes, "
    "COALESCE(pg_catalog.sum(CASE WHEN c.state = 'done' THEN c.bytes ELSE "
    "LEAST(c.bytes_done, c.bytes) END) FILTER (WHERE c.copy_data), 0)::bigint AS bytes_done, "
    "COALESCE(pg_catalog.sum(c.rows_done), 0)::bigint AS rows_done "
    "FROM livemigrate.table_copy c WHERE c.migration = m.id) t "
    "CROSS JOIN LATERAL (SELECT pg_catalog.count(*) AS total, "
    "pg_catalog.count(*) FILTER (WHERE s.state IN ('done', 'skipped')) AS done "
    "FROM livemigrate.schema_job s WHERE s.migration = m.id AND s.phase = 1) j ";

std::optional<control::SharedSegment>
AttachTo(uint32_t handle, int32_t migration) {
    std::optional<control::SharedSegment> segment =
        control::SharedSegment::Attach(handle, migration);
    if (segment && segment->state().coordinator_pid.load() == 0) {
        return std::nullopt;
    }
    return segment;
}

SqlValue
LsnText(uint64_t lsn) {
    return lsn == 0 ? std::nullopt : SqlValue(Lsn{lsn}.ToString());
}

SqlValue
IntervalText(double seconds) {
    return std::to_string(seconds) + " seconds";
}

uint64_t
OriginProgress(const std::string &origin) {
    if (origin.empty()) {
        return 0;
    }
    return pg::Call([&]() -> XLogRecPtr {
        const RepOriginId id = replorigin_by_name(origin.c_str(), true);
        return id == InvalidRepOriginId ? 0 : replorigin_get_progress(id, false);
    });
}

struct Figures {
    uint64_t source_lsn = 0;
    uint64_t received_lsn = 0;
    uint64_t flushed_lsn = 0;
    uint64_t applied_lsn = 0;
    SqlValue replay_lag;
    SqlValue spool_bytes;
    int64_t transactions = 0;
    int64_t changes = 0;
    int64_t skipped = 0;
    int64_t running_bytes = 0;
    int64_t running_rows = 0;
    double copy_rate = 0;
    double change_rate = 0;
    double apply_rate = 0;  // bytes of WAL
    double source_rate = 0; // bytes of WAL
    bool live = false;
};

void
AddLive(const SharedState &state, Figures &figures) {
    figures.live = true;
    figures.source_lsn = std::max(figures.source_lsn, state.source_lsn.load());
    figures.received_lsn = std::max(figures.received_lsn, state.received_lsn.load());
    figures.flushed_lsn = std::max(figures.flushed_lsn, state.flushed_lsn.load());
    figures.applied_lsn = std::max(figures.applied_lsn, state.applied_lsn.load());
    figures.spool_bytes = std::to_string(state.spool_bytes.load());
    figures.transactions = static_cast<int64_t>(state.transactions_applied.load());
    figures.changes = static_cast<int64_t>(state.changes_applied.load());
    figures.skipped = static_cast<int64_t>(state.changes_skipped.load());
    figures.copy_rate = state.copy_bytes_per_second.load();
    figures.change_rate = state.changes_per_second.load();
    figures.apply_rate = state.apply_bytes_per_second.load();
    figures.source_rate = state.source_bytes_per_second.load();
    for (const WorkerSlot &slot : state.workers) {
        if (slot.kind.load() == static_cast<uint32_t>(WorkerKind::kCopy)) {
            figures.running_bytes += static_cast<int64_t>(slot.task_bytes.load());
            figures.running_rows += static_cast<int64_t>(slot.task_rows.load());
        }
    }
    const uint64_t drained = state.drained_lsn.load();
    if (drained != 0 && drained >= state.received_lsn.load()) {
        // Idle positions of the stream count as applied.
        figures.applied_lsn = std::max(figures.applied_lsn, drained);
        figures.replay_lag = IntervalText(0);
    } else if (state.applied_commit_time.load() != 0) {
        // The source's clock only: ours may differ.
        const int64_t source_now = GetCurrentTimestamp() + state.source_clock_offset.load();
        const int64_t lag = source_now - state.applied_commit_time.load();
        figures.replay_lag = IntervalText(static_cast<double>(std::max<int64_t>(0, lag)) / 1e6);
    }
}

Figures
Gather(const SqlRow &row) {
    Figures figures;
    figures.source_lsn = pg::Position(row, 10).value;
    figures.received_lsn = pg::Position(row, 11).value;
    figures.flushed_lsn = pg::Position(row, 12).value;
    figures.applied_lsn = OriginProgress(pg::Text(row, 13));
    figures.transactions = pg::Number<int64_t>(row, 22);
    figures.changes = pg::Number<int64_t>(row, 23);
    figures.skipped = pg::Number<int64_t>(row, 24);
    if (const auto segment = AttachTo(pg::Number<uint32_t>(row, 29), pg::Number<int32_t>(row, 0))) {
        AddLive(segment->state(), figures);
    }
    if (figures.applied_lsn == 0 && ParseState(pg::Text(row, 4)) == State::kDone) {
        figures.applied_lsn = pg::Position(row, 14).value; // cleaned up: the origin is gone
    }
    figures.source_lsn = std::max(figures.source_lsn, figures.received_lsn);
    return figures;
}

// Time to the end of the stage. NULL when it cannot be said or never comes.
SqlValue
Eta(const SqlRow &row, const Figures &figures, int64_t bytes_left, uint64_t lag_bytes) {
    const Stage stage = ParseStage(pg::Text(row, 2));
    if (!figures.live) {
        return std::nullopt;
    }
    if (stage == Stage::kData && figures.copy_rate > 0) {
        return IntervalText(static_cast<double>(bytes_left) / figures.copy_rate);
    }
    if (stage == Stage::kCatchup || stage == Stage::kStreaming) {
        if (lag_bytes == 0) {
            return IntervalText(0);
        }
        const double closing = figures.apply_rate - figures.source_rate;
        if (closing > 0) {
            return IntervalText(static_cast<double>(lag_bytes) / closing);
        }
    }
    return std::nullopt;
}

// After a restart of a server that does not preload the library, nothing starts by itself.
bool
IsOrphaned(const SqlRow &row) {
    const State state = ParseState(pg::Text(row, 4));
    if (state != State::kRunning && state != State::kRetrying) {
        return false;
    }
    const int32_t id = pg::Number<int32_t>(row, 0);
    if (!control::TryAcquire(id, control::LockClass::kCoordinator,
                             control::LockStrength::kShared)) {
        return false;
    }
    control::Release(id, control::LockClass::kCoordinator, control::LockStrength::kShared);
    // A coordinator that has just been asked for needs a moment.
    return pg::Query("SELECT backend_start IS NOT NULL FROM (SELECT pg_catalog.max(backend_start) "
                     "AS backend_start FROM pg_catalog.pg_stat_activity WHERE backend_type = "
                     "'livemigrate coordinator' AND datid = (SELECT oid FROM "
                     "pg_catalog.pg_database WHERE datname = pg_catalog.current_database())) AS s")
               .Scalar() != "t";
}

std::vector<SqlValue>
StatusRow(const SqlRow &row) {
    const Figures figures = Gather(row);
    const auto bytes = pg::Number<int64_t>(row, 17);
    const int64_t bytes_done =
        std::min(bytes, pg::Number<int64_t>(row, 18) + figures.running_bytes);
    const uint64_t lag_bytes = figures.source_lsn > figures.applied_lsn && figures.applied_lsn != 0
                                   ? figures.source_lsn - figures.applied_lsn
                                   : 0;
    const SqlValue eta = Eta(row, figures, bytes - bytes_done, lag_bytes);
    std::string message = pg::Text(row, 5);
    const Stage stage = ParseStage(pg::Text(row, 2));
    if (figures.live && !eta && stage == Stage::kCatchup && figures.apply_rate > 0 &&
        ParseState(pg::Text(row, 4)) == State::kRunning) {
        message += "; not converging: the source writes " +
                   std::to_string(static_cast<int64_t>(figures.source_rate / 1024)) +
                   " kB/s of WAL, apply does " +
                   std::to_string(static_cast<int64_t>(figures.apply_rate / 1024)) + " kB/s";
    }
    SqlValue hint = row[6];
    if (!figures.live && IsOrphaned(row)) {
        message = "nothing works on the migration: its coordinator is not running";
        hint = "SELECT livemigrate.migration_resume();";
    }
    return {row[1],
            row[2],
            row[4],
            message.empty() ? std::nullopt : SqlValue(message),
            hint,
            row[7],
            row[8],
            row[9],
            LsnText(figures.source_lsn),
            LsnText(figures.received_lsn),
            LsnText(figures.flushed_lsn),
            LsnText(figures.applied_lsn),
            row[14],
            figures.replay_lag,
            figures.applied_lsn == 0 ? std::nullopt : SqlValue(std::to_string(lag_bytes)),
            figures.spool_bytes,
            row[15],
            row[16],
            row[17],
            std::to_string(bytes_done),
            std::to_string(pg::Number<int64_t>(row, 19) + figures.running_rows),
            row[20],
            row[21],
            std::to_string(figures.transactions),
            std::to_string(figures.changes),
            std::to_string(figures.skipped),
            std::to_string(figures.copy_rate),
            std::to_string(figures.change_rate),
            eta,
            row[25],
            row[26],
            row[27],
            row[28]};
}

Datum
Status(FunctionCallInfo fcinfo) {
    const std::optional<std::string> name = TextArgument(fcinfo, 0);
    pg::SqlResult result;
    if (name) {
        const int32_t id = control::ResolveMigration(name, true);
        result =
            pg::Query(std::string(kStatusQuery) + "WHERE m.id = $1::int", {std::to_string(id)});
    } else {
        // All that are not cleaned up; if there is none, the last one.
        result =
            pg::Query(std::string(kStatusQuery) +
                      "WHERE m.cleaned_up_at IS NULL OR (m.id = (SELECT pg_catalog.max(id) FROM "
                      "livemigrate.migration) AND NOT EXISTS (SELECT FROM livemigrate.migration o "
                      "WHERE o.cleaned_up_at IS NULL)) ORDER BY m.id");
    }
    std::vector<std::vector<SqlValue>> rows;
    for (const SqlRow &row : result.rows) {
        rows.push_back(StatusRow(row));
    }
    return ReturnRows(fcinfo, rows);
}

std::vector<SqlValue>
WorkerRow(const char *kind, int32_t pid, const std::string &what, int64_t since,
          const WorkerSlot *slot) {
    const char *since_text = pg::Call([&] {
        return since == 0 ? nullptr
                          : DatumGetCString(
                                DirectFunctionCall1(timestamptz_out, TimestampTzGetDatum(since)));
    });
    std::vector<SqlValue> row = {std::string(kind), std::to_string(pid),
                                 what.empty() ? std::nullopt : SqlValue(what),
                                 since_text == nullptr ? std::nullopt : SqlValue(since_text)};
    if (slot == nullptr) {
        row.insert(row.end(), 3, std::nullopt);
    } else {
        row.emplace_back(std::to_string(slot->task.load()));
        row.emplace_back(std::to_string(slot->task_bytes.load()));
        row.emplace_back(std::to_string(slot->task_rows.load()));
    }
    return row;
}

Datum
LiveWorkers(FunctionCallInfo fcinfo) {
    const std::optional<int> id = IntArgument(fcinfo, 0);
    std::vector<std::vector<SqlValue>> rows;
    const pg::SqlResult migration =
        pg::Query("SELECT dsm_handle, message FROM livemigrate.migration WHERE id = $1::int",
                  {std::to_string(id.value_or(0))});
    if (!migration.rows.empty()) {
        const SqlRow &row = migration.rows[0];
        if (const auto segment = AttachTo(pg::Number<uint32_t>(row, 0), id.value_or(0))) {
            const SharedState &state = segment->state();
            rows.push_back(WorkerRow("coordinator", state.coordinator_pid.load(), pg::Text(row, 1),
                                     0, nullptr));
            for (const WorkerSlot &slot : state.workers) {
                if (slot.pid.load() != 0) {
                    rows.push_back(
                        WorkerRow(WorkerKindName(static_cast<WorkerKind>(slot.kind.load())),
                                  slot.pid.load(), slot.what, slot.since.load(), &slot));
                }
            }
        }
    }
    return ReturnRows(fcinfo, rows);
}

Datum
Progress(FunctionCallInfo fcinfo) {
    const uint64_t progress = OriginProgress(TextArgument(fcinfo, 0).value_or(""));
    if (progress == 0) {
        fcinfo->isnull = true;
        return 0;
    }
    return LSNGetDatum(progress);
}

} // namespace

} // namespace livemigrate::api

LIVEMIGRATE_FUNCTION(livemigrate_migration_status, Status)
LIVEMIGRATE_FUNCTION(livemigrate_live_workers, LiveWorkers)
LIVEMIGRATE_FUNCTION(livemigrate_origin_progress, Progress)
