// The part of the catalog that counts the attempts at a part or a job and says when it is claimed
// again.
//
// An attempt is counted when it begins, in the transaction that claims the part, which is durable
// before the work starts: so it counts if the worker, or the server with it, dies of it. It is
// taken back when it ends for a reason that is not the part's: a pause, a shutdown, a source that
// is gone.

#include "control/catalog.hpp"
#include "control/catalog_parts.hpp"

#include "core/operator_text.hpp"
#include "core/retry_policy.hpp"
#include "core/sql_text.hpp"
#include "pg/guc.hpp"
#include "pg/sql_row.hpp"

namespace livemigrate::control {

namespace {

using pg::Number;
using pg::Query;
using pg::SqlResult;
using pg::SqlValue;
using pg::Text;
using Row = pg::SqlRow;

std::string
NameOf(const CopyTask &task) {
    return task.table_id ? "table " + QualifiedName(task.schema, task.name)
                         : "large objects " + task.condition;
}

std::string
Seconds(std::chrono::milliseconds delay) {
    return std::to_string((delay.count() + 500) / 1000) + " s";
}

// `delay`: until the next attempt; nullopt: there is none.
void
StoreError(const CopyTask &task, const Error &error,
           std::optional<std::chrono::milliseconds> delay) {
    const std::string migration = std::to_string(task.migration);
    Query("UPDATE livemigrate.copy_part SET state = $7, worker = NULL, "
          "error_sqlstate = $3, error = $4, error_detail = $5, error_hint = $6, "
          "next_attempt_at = CASE WHEN $8::float8 IS NULL THEN 'infinity'::timestamptz ELSE "
          "pg_catalog.clock_timestamp() + $8::float8 * '1 millisecond'::interval END "
          "WHERE migration = $1::int AND id = $2::int",
          {migration, std::to_string(task.id), std::string(error.sqlstate()), error.message(),
           error.DetailWithContext(), error.hint(), delay ? "pending" : "failed",
           delay ? SqlValue(std::to_string(delay->count())) : std::nullopt});
    if (task.table_id) {
        Query("UPDATE livemigrate.table_copy SET error = $3, "
              "attempts = GREATEST(attempts, $4::int) "
              "WHERE migration = $1::int AND id = $2::int",
              {migration, std::to_string(*task.table_id), error.message(),
               std::to_string(task.attempts)});
    }
}

// The table's other parts would most likely meet the same, each with an event of its own. Returns
// whether it is the first part to fail: the table's row, which StoreError() has locked, puts them
// in order.
bool
SetTableAside(const CopyTask &task) {
    const std::vector<SqlValue> table = {std::to_string(task.migration),
                                         std::to_string(*task.table_id), std::to_string(task.id)};
    const bool is_first =
        Query("SELECT FROM livemigrate.copy_part WHERE migration = $1::int AND table_id = $2::int "
              "AND state = 'failed' AND id <> $3::int LIMIT 1",
              table)
            .rows.empty();
    Query("UPDATE livemigrate.copy_part SET state = 'failed', next_attempt_at = 'infinity' "
          "WHERE migration = $1::int AND table_id = $2::int AND state = 'pending' "
          "AND id <> $3::int",
          table);
    return is_first;
}

void
Fail(const CopyTask &task, const Error &error) {
    StoreError(task, error, std::nullopt);
    if (task.table_id && !SetTableAside(task)) {
        return;
    }
    RecordEvent(task.migration, "error", Stage::kData, error.message(), error.DetailWithContext());
}

std::string
NameOf(const SchemaJob &job) {
    return job.kind + (job.object.empty() ? "" : " " + QuoteIdentifier(job.object)) +
           (job.table.empty() ? "" : " on " + QualifiedName(job.schema, job.table));
}

// What it has to say of itself behind its last attempt; a refresh says so when its turn comes
// again.
void
GiveUp(const SchemaJob &job, const std::string &error) {
    if (job.kind == "analyze") {
        SkipJob(job, error);
        RecordEvent(job.migration, "warning", Stage::kIndexes, error, job.sql + ";");
    } else if (job.phase != static_cast<int>(JobPhase::kRefresh)) {
        Query("UPDATE livemigrate.schema_job SET error = $3 "
              "WHERE migration = $1::int AND id = $2::int",
              {std::to_string(job.migration), std::to_string(job.id), error});
    }
}

// It has ended with its worker or the server: `end` says with which.
void
BlameJob(const SchemaJob &job, const std::string &end) {
    const int limit = pg::CopyAttempts();
    const std::string name = NameOf(job);
    if (job.attempts >= limit) {
        GiveUp(job, name + " could not be completed in " +
                        Counted(static_cast<uint64_t>(job.attempts), "attempt") + ": " + end);
        return;
    }
    RecordEvent(job.migration, "warning",
                job.phase < static_cast<int>(JobPhase::kLast) ? Stage::kIndexes : Stage::kCutover,
                name + " could not be completed: " + end,
                "Attempt " + std::to_string(job.attempts) + " of " + std::to_string(limit) + ".");
}

// Takes back the claims, and the attempts with them.
void
ReleaseParts(int32_t id, const SqlValue &worker) {
    Query("UPDATE livemigrate.copy_part SET state = 'pending', worker = NULL, "
          "attempts = attempts - 1 WHERE migration = $1::int AND state = 'copying' "
          "AND ($2::int IS NULL OR worker = $2::int)",
          {std::to_string(id), worker});
}

} // namespace

std::string
SelectTasks(const std::string &parts) {
    return "SELECT c.id, c.table_id, t.source_oid, t.schema_name, t.table_name, c.part, t.parts, "
           "c.condition, c.bytes, NOT t.is_extension_config, c.attempts, "
           "COALESCE(p.root_schema, t.schema_name), COALESCE(p.root_name, t.table_name) FROM " +
           parts +
           " c LEFT JOIN livemigrate.table_copy t "
           "ON t.migration = c.migration AND t.id = c.table_id "
           "LEFT JOIN livemigrate.table_partition p ON p.migration = c.migration "
           "AND p.table_id = c.table_id AND p.through_root ORDER BY c.id";
}

CopyTask
TaskOf(int32_t migration, const Row &row) {
    CopyTask task;
    task.migration = migration;
    task.id = Number<int32_t>(row, 0);
    if (row[1]) {
        task.table_id = Number<int32_t>(row, 1);
    }
    task.source_oid = Number<uint32_t>(row, 2);
    task.schema = Text(row, 3);
    task.name = Text(row, 4);
    task.part = Number<int32_t>(row, 5);
    task.parts = Number<int32_t>(row, 6);
    task.condition = Text(row, 7);
    task.bytes = Number<uint64_t>(row, 8);
    task.may_truncate = pg::Flag(row, 9);
    task.attempts = Number<int32_t>(row, 10);
    task.target_schema = Text(row, 11);
    task.target_name = Text(row, 12);
    return task;
}

void
KeepPartError(const CopyTask &task, const Error &error) {
    if (!IsTransient(error.sqlstate())) {
        Fail(task, error);
        return;
    }
    const int limit = pg::CopyAttempts();
    if (task.attempts >= limit) {
        Fail(task, Error(sqlstate::kProgramLimitExceeded,
                         NameOf(task) + " could not be copied in " +
                             Counted(static_cast<uint64_t>(task.attempts), "attempt") + ": " +
                             error.message())
                       .Detail(error.DetailWithContext())
                       .Hint((error.hint().empty() ? "" : error.hint() + " ") +
                             "When the cause is gone: SELECT livemigrate.migration_resume();"));
        return;
    }
    const std::chrono::milliseconds delay = RetryDelay(task.attempts, pg::RandomBits());
    const Error named(error.sqlstate(), NameOf(task) + " could not be copied: " + error.message());
    StoreError(task, named, delay);
    const std::string detail = error.DetailWithContext();
    RecordEvent(task.migration, "warning", Stage::kData, named.message(),
                "Attempt " + std::to_string(task.attempts) + " of " + std::to_string(limit) +
                    "; the next one follows in " + Seconds(delay) + "." +
                    (detail.empty() ? "" : "\n" + detail));
}

void
TryPartsNow(int32_t id) {
    Query("UPDATE livemigrate.copy_part SET next_attempt_at = pg_catalog.clock_timestamp() "
          "WHERE migration = $1::int AND state = 'pending' "
          "AND next_attempt_at > pg_catalog.clock_timestamp()",
          {std::to_string(id)});
}

// A crash is told from a shutdown by the server's statistics, which only a crash resets.
int64_t
BlameClaims(int32_t id, std::optional<int> worker) {
    const SqlResult claimed = Query(
        SelectTasks(worker ? "(SELECT * FROM livemigrate.copy_part WHERE migration = $1::int "
                             "AND state = 'copying' AND worker = $2::int)"
                           : "(SELECT * FROM livemigrate.copy_part WHERE migration = $1::int "
                             "AND state = 'copying' AND $2::int IS NULL AND started_at < (SELECT "
                             "stats_reset FROM pg_catalog.pg_stat_wal))"),
        {std::to_string(id), worker ? SqlValue(std::to_string(*worker)) : std::nullopt});
    for (const Row &row : claimed.rows) {
        KeepPartError(TaskOf(id, row),
                      worker ? Error(sqlstate::kAdminShutdown, "the copy worker ended unexpectedly")
                             : Error(sqlstate::kAdminShutdown, "the server crashed meanwhile"));
    }
    return static_cast<int64_t>(claimed.rows.size());
}

void
ForgetPartErrors(int32_t id) {
    Query("UPDATE livemigrate.copy_part SET error_sqlstate = NULL, error = NULL, "
          "error_detail = NULL, error_hint = NULL, attempts = 0, next_attempt_at = NULL, "
          "state = CASE WHEN state = 'failed' THEN 'pending' ELSE state END "
          "WHERE migration = $1::int AND state IN ('pending', 'failed', 'void') "
          "AND (attempts > 0 OR next_attempt_at IS NOT NULL)",
          {std::to_string(id)});
    Query("UPDATE livemigrate.table_copy SET error = NULL, attempts = 0 "
          "WHERE migration = $1::int AND state <> 'done' AND (attempts > 0 OR error IS NOT NULL)",
          {std::to_string(id)});
}

std::optional<Error>
FirstPartError(int32_t id) {
    const SqlResult result =
        Query("SELECT error_sqlstate, error, error_detail, error_hint FROM livemigrate.copy_part "
              "WHERE migration = $1::int AND state = 'failed' AND error IS NOT NULL "
              "ORDER BY id LIMIT 1",
              {std::to_string(id)});
    if (result.rows.empty()) {
        return std::nullopt;
    }
    const Row &row = result.rows[0];
    return Error(Text(row, 0), Text(row, 1)).Detail(Text(row, 2)).Hint(Text(row, 3));
}

std::optional<PostponedPart>
NextPostponedPart(int32_t id) {
    const SqlResult result =
        Query("SELECT error_sqlstate, error, error_detail, error_hint, attempts, "
              "GREATEST(0, EXTRACT(epoch FROM next_attempt_at - pg_catalog.clock_timestamp()) "
              "* 1000)::bigint FROM livemigrate.copy_part "
              "WHERE migration = $1::int AND state = 'pending' AND next_attempt_at IS NOT NULL "
              "ORDER BY next_attempt_at LIMIT 1",
              {std::to_string(id)});
    if (result.rows.empty()) {
        return std::nullopt;
    }
    const Row &row = result.rows[0];
    return PostponedPart{Error(Text(row, 0), Text(row, 1)).Detail(Text(row, 2)).Hint(Text(row, 3)),
                         Number<int>(row, 4), std::chrono::milliseconds(Number<int64_t>(row, 5))};
}

void
ReleaseClaims(int32_t id, std::optional<int> worker) {
    const SqlValue number = worker ? SqlValue(std::to_string(*worker)) : std::nullopt;
    ReleaseParts(id, number);
    Query("UPDATE livemigrate.schema_job SET state = 'pending', worker = NULL, "
          "attempts = attempts - 1 WHERE migration = $1::int AND state = 'running' "
          "AND ($2::int IS NULL OR worker = $2::int)",
          {std::to_string(id), number});
}

void
BlameJobs(int32_t id, std::optional<int> worker) {
    const SqlResult claimed =
        Query("UPDATE livemigrate.schema_job SET state = 'pending', worker = NULL "
              "WHERE migration = $1::int AND state = 'running' AND CASE WHEN $2::int IS NULL "
              "THEN started_at < (SELECT stats_reset FROM pg_catalog.pg_stat_wal) "
              "ELSE worker = $2::int END "
              "RETURNING id, kind, schema_name, table_name, object_name, attempts, phase, sql",
              {std::to_string(id), worker ? SqlValue(std::to_string(*worker)) : std::nullopt});
    const char *end =
        worker ? "the index worker ended unexpectedly" : "the server crashed meanwhile";
    for (const Row &row : claimed.rows) {
        SchemaJob job;
        job.migration = id;
        job.id = Number<int32_t>(row, 0);
        job.kind = Text(row, 1);
        job.schema = Text(row, 2);
        job.table = Text(row, 3);
        job.object = Text(row, 4);
        job.attempts = Number<int32_t>(row, 5);
        job.phase = Number<int32_t>(row, 6);
        job.sql = Text(row, 7);
        BlameJob(job, end);
    }
}

std::optional<Error>
GivenUpJob(int32_t id, int last_phase) {
    const SqlResult found =
        Query("SELECT error FROM livemigrate.schema_job WHERE migration = $1::int "
              "AND state IN ('pending', 'running') AND error IS NOT NULL "
              "AND attempts >= $2::int AND phase <= $3::int ORDER BY phase, id LIMIT 1",
              {std::to_string(id), std::to_string(pg::CopyAttempts()), std::to_string(last_phase)});
    if (found.rows.empty()) {
        return std::nullopt;
    }
    return Error(sqlstate::kProgramLimitExceeded, Text(found.rows[0], 0))
        .Detail("The target's server log says why it ended.")
        .Hint("When the cause is gone: SELECT livemigrate.migration_resume();");
}

void
ForgetJobAttempts(int32_t id) {
    Query("UPDATE livemigrate.schema_job SET error = NULL, attempts = 0 "
          "WHERE migration = $1::int AND attempts > 0 AND state IN ('pending', 'skipped')",
          {std::to_string(id)});
}

PartCounts
CountUnfinishedParts(int32_t id) {
    const SqlResult result =
        Query("SELECT pg_catalog.count(*) FILTER (WHERE state IN ('pending', 'copying')), "
              "pg_catalog.count(DISTINCT COALESCE(table_id, -id)) FILTER (WHERE state = 'failed'), "
              "pg_catalog.count(*) FILTER (WHERE state = 'pending' "
              "AND next_attempt_at > pg_catalog.clock_timestamp()) FROM livemigrate.copy_part "
              "WHERE migration = $1::int AND state <> 'done'",
              {std::to_string(id)});
    const Row &row = result.rows.at(0);
    return {Number<int64_t>(row, 0), Number<int64_t>(row, 1), Number<int64_t>(row, 2)};
}

void
SetAttemptsAside(int32_t migration) {
    ReleaseParts(migration, std::nullopt);
    Query(
        "UPDATE livemigrate.copy_part p SET state = 'void' WHERE migration = $1::int "
        "AND state <> 'done' AND (attempts > 0 OR next_attempt_at IS NOT NULL) AND EXISTS (SELECT "
        "FROM livemigrate.table_copy t WHERE t.migration = p.migration AND t.id = p.table_id "
        "AND t.state <> 'done')",
        {std::to_string(migration)});
}

// Where a table is cut otherwise than before, a part that failed is in some of its new ones: what
// the worst of them has is then that of each. table_copy has the number of the old ones still.
void
TakeOverAttempts(int32_t migration) {
    Query("UPDATE livemigrate.copy_part p SET attempts = v.attempts, "
          "next_attempt_at = v.next_attempt_at, error_sqlstate = v.error_sqlstate, "
          "error = v.error, error_detail = v.error_detail, error_hint = v.error_hint, "
          "state = CASE WHEN v.next_attempt_at = 'infinity' THEN 'failed' ELSE 'pending' END "
          "FROM (SELECT *, pg_catalog.row_number() OVER (PARTITION BY table_id ORDER BY "
          "next_attempt_at IS NOT DISTINCT FROM 'infinity' DESC, attempts DESC, part) = 1 AS worst "
          "FROM livemigrate.copy_part WHERE migration = $1::int AND state = 'void') v "
          "JOIN livemigrate.table_copy t ON t.migration = $1::int AND t.id = v.table_id "
          "WHERE p.migration = $1::int AND p.state = 'pending' AND p.table_id = v.table_id "
          "AND CASE WHEN t.parts = (SELECT pg_catalog.count(*) FROM livemigrate.copy_part n "
          "WHERE n.migration = $1::int AND n.table_id = v.table_id AND n.state <> 'void') "
          "THEN p.part = v.part ELSE v.worst END",
          {std::to_string(migration)});
    Query("DELETE FROM livemigrate.copy_part WHERE migration = $1::int AND state = 'void'",
          {std::to_string(migration)});
}

} // namespace livemigrate::control
