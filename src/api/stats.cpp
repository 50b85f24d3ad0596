// migration_status.

#include "pg/prelude.hpp"

#include "api/arguments.hpp"
#include "api/figures.hpp"
#include "api/lock_wait.hpp"
#include "api/sql_function.hpp"
#include "control/advisory_lock.hpp"
#include "control/catalog.hpp"
#include "core/migration_state.hpp"
#include "core/call_hint.hpp"
#include "core/operator_text.hpp"
#include "core/replay_lag.hpp"
#include "pg/sql_row.hpp"

#include <algorithm>

namespace livemigrate::api {

namespace {

using pg::SqlRow;
using pg::SqlValue;

// The columns of migration_status that come from the migration's row, one query for all wanted.
constexpr char kStatusQuery[] =
    "SELECT m.id, m.name, m.stage, m.stage_ended, m.state, m.message, m.hint, m.plugin, "
    "m.slot_name, m.snapshot_lsn, m.source_lsn, m.received_lsn, m.flushed_lsn, m.origin_name, "
    "m.endpos, m.tables_total, m.tables_done, m.bytes_total, m.bytes_done, m.rows_done, "
    "m.indexes_total, m.indexes_done, "
    "m.transactions_applied, m.changes_applied, m.changes_skipped, m.started_at, "
    "m.stage_started_at, m.attempts, m.last_error, m.dsm_handle, "
    "EXTRACT(epoch FROM pg_catalog.clock_timestamp() - m.stage_started_at), "
    "m.cleaned_up_at IS NOT NULL, (SELECT EXISTS (SELECT FROM livemigrate.migration o "
    "WHERE o.id <> m.id AND (o.state NOT IN ('done', 'aborted') OR o.cleaned_up_at IS NULL))), "
    "COALESCE((m.options->>'apply_jobs')::int, 1), "
    "pg_catalog.to_char(m.next_attempt_at, 'HH24:MI:SS'), "
    "m.next_attempt_at > pg_catalog.clock_timestamp() "
    "FROM livemigrate.migration m ";

SqlValue
LsnText(uint64_t lsn) {
    return lsn == 0 ? std::nullopt : SqlValue(Lsn{lsn}.ToString());
}

SqlValue
IntervalText(const std::optional<double> &seconds) {
    return seconds ? SqlValue(std::to_string(*seconds) + " seconds") : std::nullopt;
}

// One migration: what the catalog says, and the live figures.
struct Status {
    const SqlRow &row;
    Stage stage;
    State state;
    Figures figures;
    Work work;
    uint64_t lag_bytes = 0;
    int64_t bytes_done = 0;

    Pace
    pace() const {
        return {figures.apply_rate, figures.source_rate, lag_bytes};
    }
};

Figures
Gather(const SqlRow &row, Stage stage) {
    Figures figures;
    figures.source_lsn = pg::Position(row, 10).value;
    figures.received_lsn = pg::Position(row, 11).value;
    figures.flushed_lsn = pg::Position(row, 12).value;
    figures.applied_lsn = OriginProgress(pg::Text(row, 13), pg::Number<int>(row, 33));
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
    if (stage >= Stage::kCutover) {
        figures.replay_lag = 0; // all up to endpos is applied, and nothing else will be
    }
    return figures;
}

// Live figures, else those that the last coordinator left. One that was killed has left none: then
// the tables are added up.
Work
GatherWork(const SqlRow &row, const Figures &figures) {
    if (figures.live) {
        return figures.work;
    }
    if (row[15]) {
        return {pg::Number<int64_t>(row, 15), pg::Number<int64_t>(row, 16),
                pg::Number<int64_t>(row, 17), pg::Number<int64_t>(row, 18),
                pg::Number<int64_t>(row, 19), pg::Number<int64_t>(row, 20),
                pg::Number<int64_t>(row, 21)};
    }
    const control::CopyFigures copy = control::SumTables(pg::Number<int32_t>(row, 0));
    const control::JobFigures jobs = control::SumJobs(pg::Number<int32_t>(row, 0));
    return {static_cast<int64_t>(copy.tables),    static_cast<int64_t>(copy.tables_done),
            static_cast<int64_t>(copy.bytes),     static_cast<int64_t>(copy.bytes_done),
            static_cast<int64_t>(copy.rows_done), static_cast<int64_t>(jobs.jobs),
            static_cast<int64_t>(jobs.jobs_done)};
}

Status
Describe(const SqlRow &row) {
    Status status{row, ParseStage(pg::Text(row, 2)), ParseState(pg::Text(row, 4)), {}, {}, 0, 0};
    status.figures = Gather(row, status.stage);
    status.work = GatherWork(row, status.figures);
    const Figures &figures = status.figures;
    const bool behind = status.stage < Stage::kCutover && figures.applied_lsn != 0 &&
                        figures.source_lsn > figures.applied_lsn;
    status.lag_bytes = behind ? figures.source_lsn - figures.applied_lsn : 0;
    status.bytes_done = std::min(status.work.bytes, status.work.bytes_done + figures.running_bytes);
    return status;
}

// Time to the end of the stage. nullopt when it cannot be said or never comes.
std::optional<double>
Eta(const Status &status) {
    const Figures &figures = status.figures;
    if (!figures.live) {
        return std::nullopt;
    }
    if (status.stage == Stage::kData && figures.copy_rate > 0) {
        const int64_t left = status.work.bytes - status.bytes_done;
        return static_cast<double>(left) / figures.copy_rate;
    }
    if (status.stage == Stage::kIndexes && figures.jobs_end_at) {
        const auto left = static_cast<double>(*figures.jobs_end_at - GetCurrentTimestamp());
        return std::max(left / USECS_PER_SEC, 0.0);
    }
    if (status.stage == Stage::kCatchup || status.stage == Stage::kStreaming) {
        return SecondsToCatchUp(status.pace());
    }
    return std::nullopt;
}

// After a restart of a server that does not preload the library, nothing starts by itself.
bool
IsOrphaned(const Status &status) {
    if (status.figures.live || !IsUnderWay(status.state)) {
        return false;
    }
    const int32_t id = pg::Number<int32_t>(status.row, 0);
    if (!control::TryAcquire(id, control::LockClass::kCoordinator,
                             control::LockStrength::kShared)) {
        return false;
    }
    control::Release(id, control::LockClass::kCoordinator, control::LockStrength::kShared);
    // A coordinator that has just been asked for needs a moment, and one that this transaction asks
    // for begins when it has committed.
    return pg::Query(
               "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE backend_type = "
               "'livemigrate coordinator' AND datid = (SELECT oid FROM pg_catalog.pg_database "
               "WHERE datname = pg_catalog.current_database())) "
               "OR (SELECT m.xmin::text = (pg_catalog.txid_current_if_assigned() % 4294967296)"
               "::text FROM livemigrate.migration m WHERE m.id = $1::int) IS TRUE "
               "OR EXISTS (SELECT FROM livemigrate.event e WHERE e.migration = $1::int "
               "AND e.message IN ('migration started', 'resumed') AND e.at > GREATEST("
               "pg_catalog.clock_timestamp() - '3 seconds'::interval, "
               "pg_catalog.pg_postmaster_start_time()))",
               {std::to_string(id)})
               .Scalar() != "t";
}

struct Advice {
    std::string message;
    std::string hint;
};

std::string
NotConvergingHint(const Status &status) {
    std::string hint = "Write less on the source for a while, or give the target faster storage; "
                       "what was received is kept on disk meanwhile. To see what apply waits for: "
                       "SELECT kind, pid, what FROM livemigrate.workers;";
    if (pg::Number<int>(status.row, 33) == 1) {
        hint += " A migration that is started anew can apply with several workers: "
                "migration_start(..., options => '{\"apply_jobs\": 4}').";
    }
    return hint;
}

void
AddNextAttempt(const Status &status, Advice &advice) {
    const std::string attempt = std::to_string(pg::Number<int>(status.row, 27) + 1);
    advice.message += pg::Flag(status.row, 35) ? "; next attempt at " + pg::Text(status.row, 34) +
                                                     " (attempt " + attempt + ")"
                                               : "; attempt " + attempt + " is due";
    if (!advice.hint.empty() && advice.hint.find("migration_resume") == std::string::npos) {
        advice.hint += std::string(advice.hint.ends_with('.') ? " " : "\n") +
                       "To try again at once: SELECT livemigrate.migration_resume();";
    }
}

Advice
Advise(const Status &status) {
    const bool cleaned_up = pg::Flag(status.row, 31);
    Advice advice = {pg::Text(status.row, 5), pg::Text(status.row, 6)};
    const bool applying = status.stage == Stage::kCatchup || status.stage == Stage::kStreaming;
    if (IsOrphaned(status)) {
        advice = {"nothing works on the migration: its coordinator is not running",
                  "SELECT livemigrate.migration_resume();"};
    } else if (status.figures.live && applying && status.state == State::kRunning &&
               IsNotConverging(status.pace(), pg::Number<double>(status.row, 30))) {
        advice.message += "; not converging: the source writes " +
                          FormatByteRate(status.figures.source_rate) + " of WAL, apply does " +
                          FormatByteRate(status.figures.apply_rate);
        if (advice.message.find("slot is in danger") == std::string::npos) { // that comes first
            advice.hint = NotConvergingHint(status);
        }
    } else if (status.state == State::kRetrying && status.row[34]) {
        AddNextAttempt(status, advice);
    }
    const bool works = status.figures.live && status.state == State::kRunning;
    if (const auto wait = works ? FindLockWait(pg::Number<int32_t>(status.row, 0)) : std::nullopt) {
        advice.message += "; " + wait->message;
        advice.hint = wait->hint;
    }
    if (advice.message.empty()) {
        advice.message = "stage " + pg::Text(status.row, 2) + " is under way";
    }
    if (advice.hint.empty()) {
        advice.hint =
            DefaultHint(status.stage, status.state, status.row[14].has_value(), cleaned_up);
    }
    if (pg::Flag(status.row, 32)) {
        advice.hint = NameMigrationInCalls(advice.hint, pg::Text(status.row, 1));
    }
    return advice;
}

std::vector<SqlValue>
StatusRow(const SqlRow &row) {
    const Status status = Describe(row);
    const Figures &figures = status.figures;
    const Advice advice = Advise(status);
    const std::optional<double> lag_seconds =
        figures.replay_lag ? std::optional(static_cast<double>(*figures.replay_lag) / 1e6)
                           : std::nullopt;
    return {row[1],
            row[2],
            row[4],
            advice.message,
            advice.hint,
            row[7],
            row[8],
            row[9],
            LsnText(figures.source_lsn),
            LsnText(figures.received_lsn),
            LsnText(figures.flushed_lsn),
            LsnText(figures.applied_lsn),
            row[14],
            IntervalText(lag_seconds),
            figures.applied_lsn == 0 ? std::nullopt : SqlValue(std::to_string(status.lag_bytes)),
            figures.spool_bytes ? SqlValue(std::to_string(*figures.spool_bytes)) : std::nullopt,
            std::to_string(status.work.tables),
            std::to_string(status.work.tables_done),
            std::to_string(status.work.bytes),
            std::to_string(status.bytes_done),
            std::to_string(status.work.rows_done + figures.running_rows),
            std::to_string(status.work.jobs),
            std::to_string(status.work.jobs_done),
            std::to_string(figures.transactions),
            std::to_string(figures.changes),
            std::to_string(figures.skipped),
            std::to_string(figures.copy_rate),
            std::to_string(figures.change_rate),
            IntervalText(Eta(status)),
            row[25],
            row[26],
            row[27],
            row[28]};
}

Datum
MigrationStatus(FunctionCallInfo fcinfo) {
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

} // namespace

} // namespace livemigrate::api

LIVEMIGRATE_FUNCTION(livemigrate_migration_status, MigrationStatus)
