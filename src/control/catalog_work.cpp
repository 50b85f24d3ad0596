// The part of the catalog that holds work: tables, parts, schema jobs.

#include "control/catalog.hpp"

#include "control/advisory_lock.hpp"
#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

namespace livemigrate::control {

namespace {

using pg::BoolText;
using pg::Number;
using pg::Query;
using pg::SqlResult;
using pg::SqlValue;
using pg::Text;
using Row = pg::SqlRow;

// Gathers columns into array parameters, so that thousands of rows are one INSERT.
class Columns {
  public:
    explicit Columns(size_t count) : columns_(count) {}
    void
    Add(size_t column, std::string value) {
        columns_[column].push_back(std::move(value));
    }
    std::vector<SqlValue>
    Parameters(int32_t migration) const {
        std::vector<SqlValue> parameters = {std::to_string(migration)};
        for (const auto &column : columns_) {
            parameters.emplace_back(TextArrayLiteral(column));
        }
        return parameters;
    }

  private:
    std::vector<std::vector<std::string>> columns_;
};

// As a constant in SQL, so that partial indexes on the phase serve.
constexpr const char *kIndexPhase = "1";
static_assert(static_cast<int>(JobPhase::kIndexes) == 1);

// Phases of jobs put off until apply has passed every table's snapshot: behind all others but
// event triggers.
constexpr int kDeferredPhases = 10;

// Which tables a statement is about, and its parameters: one table, or all that are complete. The
// id is a parameter, so that the statement's plan serves for every table.
struct OfTables {
    std::string condition;
    std::vector<SqlValue> parameters;
};

OfTables
OneOrAllComplete(int32_t id, std::optional<int32_t> table) {
    if (table) {
        return {"= $2::int", {std::to_string(id), std::to_string(*table)}};
    }
    return {"IN (SELECT t.id FROM livemigrate.table_copy t WHERE t.migration = $1::int "
            "AND t.state IN ('done', 'skipped'))",
            {std::to_string(id)}};
}

// ANALYZE of tables that are complete and have all of their indexes and statistics objects.
void
ReleaseAnalyze(int32_t id, std::optional<int32_t> table) {
    const OfTables tables = OneOrAllComplete(id, table);
    Query(
        "UPDATE livemigrate.schema_job j SET ready = true WHERE migration = $1::int AND phase = " +
            std::string(kIndexPhase) + " AND kind = 'analyze' AND NOT ready AND table_id " +
            tables.condition +
            " AND NOT EXISTS (SELECT FROM livemigrate.schema_job o WHERE "
            "o.migration = j.migration AND o.table_id = j.table_id AND o.phase = " +
            kIndexPhase + " AND o.kind <> 'analyze' AND o.state IN ('pending', 'running'))",
        tables.parameters);
}

// Jobs that waited for the data of one table, or of all that are complete.
void
ReleaseJobsOfTables(int32_t id, std::optional<int32_t> table) {
    const OfTables tables = OneOrAllComplete(id, table);
    Query("UPDATE livemigrate.schema_job SET ready = true WHERE migration = $1::int AND phase = " +
              std::string(kIndexPhase) + " AND kind <> 'analyze' AND NOT ready AND table_id " +
              tables.condition,
          tables.parameters);
    ReleaseAnalyze(id, table);
}

// Statements of these phases may build on one another: one at a time, in the order of the dump.
bool
IsSerialPhase(int phase) {
    constexpr int kDeferredForeignKeys = static_cast<int>(JobPhase::kForeignKeys) + kDeferredPhases;
    return phase == static_cast<int>(JobPhase::kConstraints) ||
           phase == static_cast<int>(JobPhase::kForeignKeys) || phase == kDeferredForeignKeys ||
           phase == static_cast<int>(JobPhase::kLast);
}

} // namespace

void
InsertTables(int32_t id, const std::vector<CopyTable> &tables) {
    Columns columns(17);
    for (const CopyTable &table : tables) {
        columns.Add(0, std::to_string(table.id));
        columns.Add(1, std::to_string(table.source_oid));
        columns.Add(2, table.schema);
        columns.Add(3, table.name);
        columns.Add(4, std::string(1, table.relkind));
        columns.Add(5, std::string(1, table.persistence));
        columns.Add(6, std::to_string(table.pages));
        columns.Add(7, std::to_string(table.bytes));
        columns.Add(8, std::to_string(table.rows_estimate));
        columns.Add(9, std::to_string(table.filenode));
        columns.Add(10, std::string(1, table.replica_identity));
        columns.Add(11, BoolText(table.identity_usable));
        columns.Add(12, BoolText(table.copy_data));
        columns.Add(13, table.state);
        columns.Add(14, table.row_condition);
        columns.Add(15, BoolText(table.is_extension_config));
        columns.Add(16, std::to_string(table.rows_changed));
    }
    Query("INSERT INTO livemigrate.table_copy (migration, id, source_oid, schema_name, "
          "table_name, relkind, persistence, pages, bytes, rows_estimate, filenode, "
          "replica_identity, identity_usable, copy_data, state, row_condition, "
          "is_extension_config, rows_changed) "
          "SELECT $1::int, a::int, b::oid, c::name, d::name, e::\"char\", f::\"char\", g::bigint, "
          "h::bigint, i::bigint, j::oid, k::\"char\", l::boolean, m::boolean, n, o, p::boolean, "
          "q::bigint "
          "FROM ROWS FROM (pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]), "
          "pg_catalog.unnest($4::text[]), pg_catalog.unnest($5::text[]), "
          "pg_catalog.unnest($6::text[]), pg_catalog.unnest($7::text[]), "
          "pg_catalog.unnest($8::text[]), pg_catalog.unnest($9::text[]), "
          "pg_catalog.unnest($10::text[]), pg_catalog.unnest($11::text[]), "
          "pg_catalog.unnest($12::text[]), pg_catalog.unnest($13::text[]), "
          "pg_catalog.unnest($14::text[]), pg_catalog.unnest($15::text[]), "
          "pg_catalog.unnest($16::text[]), pg_catalog.unnest($17::text[]), "
          "pg_catalog.unnest($18::text[])) "
          "AS t(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q)",
          columns.Parameters(id));
}

std::vector<CopyTable>
LoadTables(int32_t id) {
    const SqlResult result =
        Query("SELECT id, source_oid, schema_name, table_name, relkind, persistence, pages, bytes, "
              "rows_estimate, filenode, replica_identity, identity_usable, copy_data, state, "
              "snapshot_lsn, parts, row_condition, is_extension_config, rows_changed "
              "FROM livemigrate.table_copy WHERE migration = $1::int "
              "ORDER BY id",
              {std::to_string(id)});
    std::vector<CopyTable> tables;
    tables.reserve(result.rows.size());
    for (const Row &row : result.rows) {
        CopyTable table;
        table.id = Number<int32_t>(row, 0);
        table.source_oid = Number<uint32_t>(row, 1);
        table.schema = Text(row, 2);
        table.name = Text(row, 3);
        table.relkind = Text(row, 4).at(0);
        table.persistence = Text(row, 5).at(0);
        table.pages = Number<uint64_t>(row, 6);
        table.bytes = Number<uint64_t>(row, 7);
        table.rows_estimate = Number<int64_t>(row, 8);
        table.filenode = Number<uint32_t>(row, 9);
        table.replica_identity = Text(row, 10).at(0);
        table.identity_usable = Text(row, 11) == "t";
        table.copy_data = Text(row, 12) == "t";
        table.state = Text(row, 13);
        table.snapshot_lsn = row[14] ? Lsn::Parse(*row[14]) : Lsn{};
        table.parts = Number<int32_t>(row, 15);
        table.row_condition = Text(row, 16);
        table.is_extension_config = pg::Flag(row, 17);
        table.rows_changed = Number<uint64_t>(row, 18);
        tables.push_back(std::move(table));
    }
    return tables;
}

void
InsertParts(int32_t id, const std::vector<CopyTask> &tasks) {
    Columns columns(5);
    for (const CopyTask &task : tasks) {
        columns.Add(0, std::to_string(task.id));
        columns.Add(1, task.table_id ? std::to_string(*task.table_id) : "");
        columns.Add(2, std::to_string(task.part));
        columns.Add(3, task.condition);
        columns.Add(4, std::to_string(task.bytes));
    }
    Query("INSERT INTO livemigrate.copy_part (migration, id, table_id, part, condition, bytes) "
          "SELECT $1::int, a::int, NULLIF(b, '')::int, c::int, d, e::bigint FROM ROWS FROM ("
          "pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]), "
          "pg_catalog.unnest($4::text[]), pg_catalog.unnest($5::text[]), "
          "pg_catalog.unnest($6::text[])) AS t(a, b, c, d, e)",
          columns.Parameters(id));
    Query("UPDATE livemigrate.table_copy t SET parts = p.parts FROM (SELECT table_id, "
          "pg_catalog.count(*) AS parts FROM livemigrate.copy_part WHERE migration = $1::int "
          "GROUP BY table_id) p WHERE t.migration = $1::int AND t.id = p.table_id "
          "AND t.parts <> p.parts",
          {std::to_string(id)});
}

void
DeletePendingParts(int32_t id) {
    Query("DELETE FROM livemigrate.copy_part p WHERE migration = $1::int AND (table_id IS NULL "
          "AND state <> 'done' OR EXISTS (SELECT FROM livemigrate.table_copy t WHERE "
          "t.migration = p.migration AND t.id = p.table_id AND t.state <> 'done'))",
          {std::to_string(id)});
}

void
ResetUnfinishedTables(int32_t id) {
    DeletePendingParts(id);
    Query("UPDATE livemigrate.table_copy SET state = 'pending', bytes_done = 0, rows_done = 0, "
          "started_at = NULL, snapshot_lsn = NULL WHERE migration = $1::int "
          "AND state NOT IN ('done', 'skipped')",
          {std::to_string(id)});
}

void
SetTablesSnapshot(int32_t id, Lsn lsn) {
    Query("UPDATE livemigrate.table_copy SET snapshot_lsn = $2::pg_lsn WHERE migration = $1::int "
          "AND state NOT IN ('done', 'skipped')",
          {std::to_string(id), lsn.ToString()});
}

std::optional<CopyTask>
ClaimPart(int32_t id, int worker) {
    const SqlResult result = Query(
        "WITH claimed AS (UPDATE livemigrate.copy_part p SET state = 'copying', "
        "worker = $2::int, started_at = pg_catalog.clock_timestamp() WHERE migration = $1::int "
        "AND id = (SELECT id FROM livemigrate.copy_part WHERE migration = $1::int "
        "AND state = 'pending' AND error IS NULL ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) "
        "RETURNING *) "
        "SELECT c.id, c.table_id, t.source_oid, t.schema_name, t.table_name, c.part, t.parts, "
        "c.condition, c.bytes, NOT t.is_extension_config FROM claimed c LEFT JOIN "
        "livemigrate.table_copy t "
        "ON t.migration = c.migration AND t.id = c.table_id",
        {std::to_string(id), std::to_string(worker)});
    if (result.rows.empty()) {
        return std::nullopt;
    }
    const Row &row = result.rows[0];
    CopyTask task;
    task.migration = id;
    task.id = Number<int32_t>(row, 0);
    if (row[1]) {
        task.table_id = Number<int32_t>(row, 1);
        Query("UPDATE livemigrate.table_copy SET state = 'copying', "
              "started_at = COALESCE(started_at, pg_catalog.clock_timestamp()) "
              "WHERE migration = $1::int AND id = $2::int AND state = 'pending'",
              {std::to_string(id), *row[1]});
    }
    task.source_oid = Number<uint32_t>(row, 2);
    task.schema = Text(row, 3);
    task.name = Text(row, 4);
    task.part = Number<int32_t>(row, 5);
    task.parts = Number<int32_t>(row, 6);
    task.condition = Text(row, 7);
    task.bytes = Number<uint64_t>(row, 8);
    task.may_truncate = pg::Flag(row, 9);
    return task;
}

void
FinishPart(const CopyTask &task, uint64_t rows, uint64_t bytes) {
    Query("UPDATE livemigrate.copy_part SET state = 'done', rows_done = $3::bigint, "
          "bytes_done = $4::bigint, finished_at = pg_catalog.clock_timestamp() "
          "WHERE migration = $1::int AND id = $2::int",
          {std::to_string(task.migration), std::to_string(task.id), std::to_string(rows),
           std::to_string(bytes)});
    if (!task.table_id) {
        return;
    }
    const std::string migration = std::to_string(task.migration);
    const std::string table = std::to_string(*task.table_id);
    // The lock on the table's row makes the last part see that all others are done.
    Query("UPDATE livemigrate.table_copy SET rows_done = rows_done + $3::bigint, "
          "bytes_done = bytes_done + $4::bigint "
          "WHERE migration = $1::int AND id = $2::int",
          {migration, table, std::to_string(rows), std::to_string(bytes)});
    const SqlResult completed =
        Query("UPDATE livemigrate.table_copy t SET state = 'done', "
              "finished_at = pg_catalog.clock_timestamp() WHERE migration = $1::int "
              "AND id = $2::int AND NOT EXISTS (SELECT FROM livemigrate.copy_part p "
              "WHERE p.migration = t.migration AND p.table_id = t.id AND p.state <> 'done')",
              {migration, table});
    if (completed.processed == 1) {
        ReleaseJobsOfTables(task.migration, task.table_id);
    }
}

void
FailPart(const CopyTask &task, const Error &error) {
    const std::string migration = std::to_string(task.migration);
    Query("UPDATE livemigrate.copy_part SET state = 'pending', worker = NULL, "
          "error_sqlstate = $3, error = $4, error_detail = $5, error_hint = $6 "
          "WHERE migration = $1::int AND id = $2::int",
          {migration, std::to_string(task.id), std::string(error.sqlstate()), error.message(),
           error.context().empty() ? error.detail() : error.detail() + "\n" + error.context(),
           error.hint()});
    if (task.table_id) {
        Query("UPDATE livemigrate.table_copy SET error = $3 "
              "WHERE migration = $1::int AND id = $2::int",
              {migration, std::to_string(*task.table_id), error.message()});
    }
}

void
ForgetPartErrors(int32_t id) {
    Query("UPDATE livemigrate.copy_part SET error_sqlstate = NULL, error = NULL, "
          "error_detail = NULL, error_hint = NULL WHERE migration = $1::int AND error IS NOT NULL",
          {std::to_string(id)});
    Query("UPDATE livemigrate.table_copy SET error = NULL "
          "WHERE migration = $1::int AND error IS NOT NULL",
          {std::to_string(id)});
}

std::optional<Error>
FirstPartError(int32_t id) {
    const SqlResult result =
        Query("SELECT error_sqlstate, error, error_detail, error_hint FROM livemigrate.copy_part "
              "WHERE migration = $1::int AND error IS NOT NULL ORDER BY id LIMIT 1",
              {std::to_string(id)});
    if (result.rows.empty()) {
        return std::nullopt;
    }
    const Row &row = result.rows[0];
    return Error(Text(row, 0), Text(row, 1)).Detail(Text(row, 2)).Hint(Text(row, 3));
}

void
ReleaseClaims(int32_t id, std::optional<int> worker) {
    const SqlValue number = worker ? SqlValue(std::to_string(*worker)) : std::nullopt;
    Query("UPDATE livemigrate.copy_part SET state = 'pending', worker = NULL "
          "WHERE migration = $1::int AND state = 'copying' "
          "AND ($2::int IS NULL OR worker = $2::int)",
          {std::to_string(id), number});
    Query("UPDATE livemigrate.schema_job SET state = 'pending', worker = NULL "
          "WHERE migration = $1::int AND state = 'running' "
          "AND ($2::int IS NULL OR worker = $2::int)",
          {std::to_string(id), number});
}

PartCounts
CountUnfinishedParts(int32_t id) {
    const SqlResult result =
        Query("SELECT pg_catalog.count(*) FILTER (WHERE error IS NULL), "
              "pg_catalog.count(*) FILTER (WHERE error IS NOT NULL) FROM livemigrate.copy_part "
              "WHERE migration = $1::int AND state <> 'done'",
              {std::to_string(id)});
    return {Number<int64_t>(result.rows.at(0), 0), Number<int64_t>(result.rows.at(0), 1)};
}

void
InsertJobs(int32_t id, const std::vector<SchemaJob> &jobs) {
    Columns columns(8);
    for (const SchemaJob &job : jobs) {
        columns.Add(0, std::to_string(job.id));
        columns.Add(1, std::to_string(job.phase));
        columns.Add(2, job.kind);
        columns.Add(3, job.schema);
        columns.Add(4, job.table);
        columns.Add(5, job.object);
        columns.Add(6, job.sql);
        columns.Add(7, job.table_id ? std::to_string(*job.table_id) : "");
    }
    Query("INSERT INTO livemigrate.schema_job (migration, id, phase, kind, schema_name, "
          "table_name, object_name, sql, bytes, table_id, ready) SELECT $1::int, a::int, b::int, "
          "c, NULLIF(d, '')::name, NULLIF(e, '')::name, NULLIF(f, '')::name, g, "
          "COALESCE(t.bytes, 0), NULLIF(h, '')::int, b::int <> " +
              std::string(kIndexPhase) +
              " FROM ROWS FROM ("
              "pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]), "
              "pg_catalog.unnest($4::text[]), pg_catalog.unnest($5::text[]), "
              "pg_catalog.unnest($6::text[]), pg_catalog.unnest($7::text[]), "
              "pg_catalog.unnest($8::text[]), pg_catalog.unnest($9::text[])) "
              "AS j(a, b, c, d, e, f, g, h) LEFT JOIN livemigrate.table_copy t "
              "ON t.migration = $1::int AND t.schema_name = d::name AND t.table_name = e::name",
          columns.Parameters(id));
    // Thousands of new rows: without figures the planner may read all of them at each claim.
    Query("ANALYZE livemigrate.schema_job");
    ReleaseJobsOfTables(id, std::nullopt);
}

void
ReleaseJobs(int32_t id, bool defer_foreign_keys) {
    Query("UPDATE livemigrate.schema_job SET phase = " +
              std::to_string(static_cast<int>(JobPhase::kAnalyze)) +
              " WHERE migration = $1::int AND phase = " + kIndexPhase +
              " AND kind = 'analyze' AND NOT ready",
          {std::to_string(id)});
    Query("UPDATE livemigrate.schema_job SET ready = true WHERE migration = $1::int AND NOT ready",
          {std::to_string(id)});
    if (defer_foreign_keys) {
        Query("UPDATE livemigrate.schema_job SET phase = phase + $2::int "
              "WHERE migration = $1::int AND state = 'pending' AND phase IN ($3::int, $4::int)",
              {std::to_string(id), std::to_string(kDeferredPhases),
               std::to_string(static_cast<int>(JobPhase::kForeignKeys)),
               std::to_string(static_cast<int>(JobPhase::kValidation))});
    }
}

int64_t
CountReadyJobs(int32_t id) {
    return Number<int64_t>(Query("SELECT pg_catalog.count(*) FROM livemigrate.schema_job "
                                 "WHERE migration = $1::int AND state IN ('pending', 'running') "
                                 "AND ready AND error IS NULL AND phase = " +
                                     std::string(kIndexPhase),
                                 {std::to_string(id)})
                               .rows.at(0),
                           0);
}

void
FailJob(const SchemaJob &job, const Error &error) {
    Query("UPDATE livemigrate.schema_job SET error = $3, state = 'pending', worker = NULL "
          "WHERE migration = $1::int AND id = $2::int",
          {std::to_string(job.migration), std::to_string(job.id), error.message()});
}

std::optional<SchemaJob>
ClaimJob(int32_t id, int worker, int last_phase) {
    // One claim at a time: two workers must not both find that nothing is running.
    AcquireForTransaction(id, LockClass::kClaims, LockStrength::kExclusive);
    const std::string migration = std::to_string(id);
    const SqlValue phase = Query("SELECT pg_catalog.min(phase) FROM livemigrate.schema_job "
                                 "WHERE migration = $1::int AND state IN ('pending', 'running')",
                                 {migration})
                               .Scalar();
    // A phase begins when no job of an earlier one is left.
    if (!phase || std::stoi(*phase) > last_phase) {
        return std::nullopt;
    }
    const bool in_order = IsSerialPhase(std::stoi(*phase));
    if (in_order && !Query("SELECT FROM livemigrate.schema_job WHERE migration = $1::int "
                           "AND state = 'running' LIMIT 1",
                           {migration})
                         .rows.empty()) {
        return std::nullopt;
    }
    const SqlValue next =
        Query(std::string("SELECT id FROM livemigrate.schema_job WHERE migration = $1::int "
                          "AND phase = $2::int AND ") +
                  (in_order ? "state IN ('pending', 'running') AND state = 'pending' "
                              "AND error IS NULL ORDER BY id LIMIT 1"
                            : "state = 'pending' AND ready AND error IS NULL "
                              "ORDER BY bytes DESC, id LIMIT 1"),
              {migration, phase})
            .Scalar();
    if (!next) {
        return std::nullopt;
    }
    const SqlResult result =
        Query("UPDATE livemigrate.schema_job SET state = 'running', worker = $3::int, "
              "started_at = pg_catalog.clock_timestamp() "
              "WHERE migration = $1::int AND id = $2::int RETURNING "
              "id, phase, kind, schema_name, table_name, object_name, sql, bytes, table_id",
              {migration, next, std::to_string(worker)});
    if (result.rows.empty()) {
        return std::nullopt;
    }
    const Row &row = result.rows[0];
    SchemaJob job;
    job.migration = id;
    job.id = Number<int32_t>(row, 0);
    job.phase = Number<int32_t>(row, 1);
    job.kind = Text(row, 2);
    job.schema = Text(row, 3);
    job.table = Text(row, 4);
    job.object = Text(row, 5);
    job.sql = Text(row, 6);
    job.bytes = Number<uint64_t>(row, 7);
    if (row[8]) {
        job.table_id = Number<int32_t>(row, 8);
    }
    return job;
}

void
ForgetJobErrors(int32_t id) {
    Query("UPDATE livemigrate.schema_job SET error = NULL "
          "WHERE migration = $1::int AND state = 'pending' AND error IS NOT NULL",
          {std::to_string(id)});
}

void
FinishJob(const SchemaJob &job, bool skipped, const std::string &note) {
    Query("UPDATE livemigrate.schema_job SET state = $3, error = NULLIF($4, ''), "
          "finished_at = pg_catalog.clock_timestamp() WHERE migration = $1::int AND id = $2::int",
          {std::to_string(job.migration), std::to_string(job.id),
           std::string(skipped ? "skipped" : "done"), note});
    if (job.table_id && job.phase == static_cast<int>(JobPhase::kIndexes)) {
        // One at a time, so that the last of a table's jobs sees that all others are done.
        AcquireForTransaction(job.migration, LockClass::kClaims, LockStrength::kExclusive);
        ReleaseAnalyze(job.migration, job.table_id);
    }
}

int64_t
CountUnfinishedJobs(int32_t id, int last_phase) {
    return Number<int64_t>(
        Query("SELECT pg_catalog.count(*) FROM livemigrate.schema_job WHERE migration = $1::int "
              "AND state IN ('pending', 'running') AND phase <= $2::int",
              {std::to_string(id), std::to_string(last_phase)})
            .rows.at(0),
        0);
}

bool
HasJobs(int32_t id) {
    return !Query("SELECT FROM livemigrate.schema_job WHERE migration = $1::int LIMIT 1",
                  {std::to_string(id)})
                .rows.empty();
}

} // namespace livemigrate::control
