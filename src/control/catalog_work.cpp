// The part of the catalog that holds tables and their parts.

#include "control/catalog.hpp"

#include "control/catalog_columns.hpp"
#include "control/catalog_parts.hpp"
#include "core/sql_text.hpp"
#include "pg/partition_routing.hpp"
#include "pg/sql_row.hpp"
#include "pg/table_manager.hpp"

#include <algorithm>
#include <set>

namespace livemigrate::control {

namespace {

using pg::BoolText;
using pg::Number;
using pg::Query;
using pg::SqlResult;
using pg::SqlValue;
using pg::Text;
using Row = pg::SqlRow;

// Tables below this size are claimed and committed many at a time: with ten thousand tables,
// claiming would take longer than copying.
constexpr uint64_t kSmallTable = 1 << 20;
constexpr size_t kMostGathered = 64;
constexpr int kCandidates = 256;

// How many parts to claim: more than one if the next ones are small tables, but so that the other
// workers get their share, too.
size_t
PartsToGather(int32_t id, int workers) {
    const SqlResult next =
        Query("SELECT t.parts = 1 AND p.attempts = 0 AND p.bytes < " + std::to_string(kSmallTable) +
                  " FROM livemigrate.copy_part p LEFT JOIN livemigrate.table_copy t "
                  "ON t.migration = $1::int AND t.id = p.table_id WHERE p.migration = $1::int "
                  "AND p.state = 'pending' ORDER BY p.attempts, p.id LIMIT " +
                  std::to_string(kCandidates),
              {std::to_string(id)});
    size_t small = 0;
    while (small < next.rows.size() && pg::Flag(next.rows[small], 0)) {
        small++;
    }
    return std::clamp<size_t>(small / (2 * static_cast<size_t>(workers)), 1, kMostGathered);
}

} // namespace

void
InsertTables(int32_t id, const std::vector<CopyTable> &tables) {
    Columns columns(18);
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
        columns.Add(17, table.snapshot_lsn.valid() ? table.snapshot_lsn.ToString() : "");
    }
    Query("INSERT INTO livemigrate.table_copy (migration, id, source_oid, schema_name, "
          "table_name, relkind, persistence, pages, bytes, rows_estimate, filenode, "
          "replica_identity, identity_usable, copy_data, state, row_condition, "
          "is_extension_config, rows_changed, snapshot_lsn) "
          "SELECT $1::int, a::int, b::oid, c, d, e::\"char\", f::\"char\", g::bigint, "
          "h::bigint, i::bigint, j::oid, k::\"char\", l::boolean, m::boolean, n, o, p::boolean, "
          "q::bigint, NULLIF(r, '')::pg_lsn "
          "FROM ROWS FROM (pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]), "
          "pg_catalog.unnest($4::text[]), pg_catalog.unnest($5::text[]), "
          "pg_catalog.unnest($6::text[]), pg_catalog.unnest($7::text[]), "
          "pg_catalog.unnest($8::text[]), pg_catalog.unnest($9::text[]), "
          "pg_catalog.unnest($10::text[]), pg_catalog.unnest($11::text[]), "
          "pg_catalog.unnest($12::text[]), pg_catalog.unnest($13::text[]), "
          "pg_catalog.unnest($14::text[]), pg_catalog.unnest($15::text[]), "
          "pg_catalog.unnest($16::text[]), pg_catalog.unnest($17::text[]), "
          "pg_catalog.unnest($18::text[]), pg_catalog.unnest($19::text[])) "
          "AS t(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r)",
          columns.Parameters(id));
}

std::vector<CopyTable>
LoadTables(int32_t id) {
    const SqlResult result =
        Query("SELECT t.id, t.source_oid, t.schema_name, t.table_name, t.relkind, t.persistence, "
              "t.pages, t.bytes, t.rows_estimate, t.filenode, t.replica_identity, "
              "t.identity_usable, t.copy_data, t.state, t.snapshot_lsn, t.parts, t.row_condition, "
              "t.is_extension_config, t.rows_changed, p.root_schema, p.root_name, p.through_root, "
              "p.condition, p.bounds, t.replaced FROM livemigrate.table_copy t LEFT JOIN "
              "livemigrate.table_partition p "
              "ON p.migration = t.migration AND p.table_id = t.id WHERE t.migration = $1::int "
              "ORDER BY t.id",
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
        table.root_schema = Text(row, 19);
        table.root_name = Text(row, 20);
        const bool through_root = pg::Flag(row, 21);
        table.target_schema = through_root ? table.root_schema : table.schema;
        table.target_name = through_root ? table.root_name : table.name;
        table.partition_condition = Text(row, 22);
        table.bounds = Text(row, 23);
        table.replaced = pg::Flag(row, 24);
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
    TakeOverAttempts(id);
    Query("UPDATE livemigrate.table_copy t SET parts = p.parts FROM (SELECT table_id, "
          "pg_catalog.count(*) AS parts FROM livemigrate.copy_part WHERE migration = $1::int "
          "GROUP BY table_id) p WHERE t.migration = $1::int AND t.id = p.table_id "
          "AND t.parts <> p.parts",
          {std::to_string(id)});
    // Thousands of new rows: without figures the planner may read all of them at each claim.
    Query("ANALYZE livemigrate.copy_part, livemigrate.table_copy");
}

namespace {

// Rows of a routed partition may all lie in its siblings, of which none can have rows if a crash
// has emptied this one; and those of a table that an extension keeps lie elsewhere.
bool
HasRows(const CopyTable &table) {
    const Oid named = pg::TableOid(table.target_schema, table.target_name);
    const Oid filled = pg::RoutingRelation(named);
    const auto [schema, name] = pg::NameOf(filled);
    const bool one_heap = filled == named && pg::IsOneHeap(named);
    return Query(std::string("SELECT EXISTS (SELECT FROM ") + (one_heap ? "ONLY " : "") +
                 QualifiedName(schema, name) + ")")
               .Scalar() == "t";
}

} // namespace

std::vector<CopyTable>
EmptiedUnloggedTables(int32_t id) {
    const SqlResult copied =
        Query("SELECT t.id FROM livemigrate.table_copy t "
              "JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema_name "
              "JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.table_name "
              "WHERE t.migration = $1::int AND t.copy_data AND t.state = 'done' "
              "AND t.rows_done > 0 AND c.relkind = 'r' AND c.relpersistence = 'u'",
              {std::to_string(id)});
    if (copied.rows.empty()) {
        return {};
    }
    std::set<int32_t> ids;
    for (const Row &row : copied.rows) {
        ids.insert(Number<int32_t>(row, 0));
    }
    std::vector<CopyTable> emptied;
    for (CopyTable &table : LoadTables(id)) {
        if (ids.contains(table.id) && !HasRows(table)) {
            emptied.push_back(std::move(table));
        }
    }
    return emptied;
}

void
CopyAgain(int32_t id, int32_t table) {
    Query("UPDATE livemigrate.table_copy SET state = 'pending', finished_at = NULL "
          "WHERE migration = $1::int AND id = $2::int",
          {std::to_string(id), std::to_string(table)});
}

void
ResetUnfinishedParts(int32_t id) {
    ReleaseClaims(id, std::nullopt);
    SetAttemptsAside(id);
    Query("DELETE FROM livemigrate.copy_part p WHERE migration = $1::int AND state <> 'void' "
          "AND EXISTS (SELECT FROM livemigrate.table_copy t WHERE t.migration = p.migration "
          "AND t.id = p.table_id AND t.state <> 'done')",
          {std::to_string(id)});
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

void
SetFilenodes(int32_t id, const std::map<uint32_t, uint32_t> &files) {
    Columns columns(2);
    for (const auto &[oid, filenode] : files) {
        columns.Add(0, std::to_string(oid));
        columns.Add(1, std::to_string(filenode));
    }
    Query("UPDATE livemigrate.table_copy t SET filenode = u.b::oid FROM ROWS FROM ("
          "pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[])) AS u(a, b) "
          "WHERE t.migration = $1::int AND t.source_oid = u.a::oid AND t.filenode <> u.b::oid "
          "AND t.state NOT IN ('done', 'skipped')",
          columns.Parameters(id));
}

Lsn
LatestSnapshot(int32_t id) {
    return pg::Position(
        Query("SELECT COALESCE(pg_catalog.max(snapshot_lsn), '0/0') FROM livemigrate.table_copy "
              "WHERE migration = $1::int",
              {std::to_string(id)})
            .rows.at(0),
        0);
}

std::vector<CopyTask>
ClaimParts(int32_t id, int worker, int workers) {
    const size_t share = PartsToGather(id, workers);
    // Parts that failed before come last, each alone. Small ones of tables in one part only: two
    // workers must not wait for each other's tables to finish them.
    const std::string next =
        share == 1 ? "SELECT id FROM livemigrate.copy_part WHERE migration = $1::int "
                     "AND state = 'pending' AND (next_attempt_at IS NULL OR next_attempt_at <= "
                     "pg_catalog.clock_timestamp()) ORDER BY attempts, id LIMIT $3::int "
                     "FOR UPDATE SKIP LOCKED"
                   : "SELECT p.id FROM livemigrate.copy_part p JOIN livemigrate.table_copy o "
                     "ON o.migration = $1::int AND o.id = p.table_id AND o.parts = 1 "
                     "WHERE p.migration = $1::int AND p.state = 'pending' AND p.attempts = 0 "
                     "AND p.bytes < " +
                         std::to_string(kSmallTable) +
                         " ORDER BY p.id LIMIT $3::int FOR UPDATE OF p SKIP LOCKED";
    const SqlResult result =
        Query("WITH claimed AS (UPDATE livemigrate.copy_part p SET state = 'copying', "
              "worker = $2::int, attempts = attempts + 1, next_attempt_at = NULL, "
              "started_at = pg_catalog.clock_timestamp() WHERE migration = $1::int "
              "AND id = ANY (ARRAY(" +
                  next + ")) RETURNING *) " + SelectTasks("claimed"),
              {std::to_string(id), std::to_string(worker), std::to_string(share)});
    std::vector<CopyTask> tasks;
    for (const Row &row : result.rows) {
        tasks.push_back(TaskOf(id, row));
    }
    if (tasks.size() == 1 && tasks[0].table_id) {
        Query("UPDATE livemigrate.table_copy SET state = 'copying', "
              "started_at = COALESCE(started_at, pg_catalog.clock_timestamp()) "
              "WHERE migration = $1::int AND id = $2::int AND state = 'pending'",
              {std::to_string(id), std::to_string(*tasks[0].table_id)});
    }
    return tasks;
}

uint64_t
FinishParts(const std::vector<FinishedPart> &finished) {
    Columns columns(5);
    std::set<int32_t> tables;
    for (const FinishedPart &part : finished) {
        columns.Add(0, std::to_string(part.task->id));
        columns.Add(1, std::to_string(part.rows));
        columns.Add(2, std::to_string(part.bytes));
        columns.Add(3, std::to_string(part.started));
        columns.Add(4, std::to_string(part.finished));
        if (part.task->table_id) {
            tables.insert(*part.task->table_id);
        }
    }
    const int32_t id = finished.at(0).task->migration;
    const std::string migration = std::to_string(id);
    Query("UPDATE livemigrate.copy_part p SET state = 'done', rows_done = f.rows, "
          "bytes_done = f.bytes, started_at = '2000-01-01 00:00:00+00'::timestamptz + "
          "f.started::float8 * '1 microsecond'::interval, "
          "finished_at = '2000-01-01 00:00:00+00'::timestamptz + "
          "f.finished::float8 * '1 microsecond'::interval "
          "FROM ROWS FROM (pg_catalog.unnest($2::text[]::int[]), "
          "pg_catalog.unnest($3::text[]::bigint[]), pg_catalog.unnest($4::text[]::bigint[]), "
          "pg_catalog.unnest($5::text[]), pg_catalog.unnest($6::text[])) "
          "AS f(id, rows, bytes, started, finished) WHERE p.migration = $1::int AND p.id = f.id",
          columns.Parameters(id));
    if (tables.empty()) {
        return 0;
    }
    const CopyTask &first = *finished[0].task;
    if (first.parts > 1) {
        // The lock on the table's row makes the last part see that all others are done.
        Query("UPDATE livemigrate.table_copy SET rows_done = rows_done + $3::bigint, "
              "bytes_done = bytes_done + $4::bigint WHERE migration = $1::int AND id = $2::int",
              {migration, std::to_string(*first.table_id), std::to_string(finished[0].rows),
               std::to_string(finished[0].bytes)});
    }
    const uint64_t completed =
        first.parts > 1
            ? Query("UPDATE livemigrate.table_copy t SET state = 'done', error = NULL, "
                    "finished_at = pg_catalog.clock_timestamp() WHERE migration = $1::int "
                    "AND id = $2::int AND NOT EXISTS (SELECT FROM livemigrate.copy_part p "
                    "WHERE p.migration = t.migration AND p.table_id = t.id AND p.state <> 'done')",
                    {migration, std::to_string(*first.table_id)})
                  .processed
            : Query("UPDATE livemigrate.table_copy t SET state = 'done', error = NULL, "
                    "rows_done = p.rows_done, bytes_done = p.bytes_done, "
                    "started_at = p.started_at, finished_at = p.finished_at "
                    "FROM livemigrate.copy_part p WHERE t.migration = $1::int "
                    "AND p.migration = $1::int AND p.table_id = t.id AND p.state = 'done' "
                    "AND t.id = " +
                        AnyOf("$2"),
                    {migration, IntArrayLiteral(tables)})
                  .processed;
    if (completed > 0) {
        ReleaseJobsOfTables(id, tables);
    }
    return completed;
}

CopyFigures
SumTables(int32_t id) {
    const Row row =
        Query("SELECT pg_catalog.count(*) FILTER (WHERE copy_data), "
              "pg_catalog.count(*) FILTER (WHERE copy_data AND state = 'done'), "
              "pg_catalog.sum(bytes) FILTER (WHERE copy_data), "
              "pg_catalog.sum(CASE WHEN state = 'done' THEN bytes ELSE "
              "LEAST(bytes_done, bytes) END) FILTER (WHERE copy_data), "
              "pg_catalog.sum(bytes_done), pg_catalog.sum(rows_done) FROM livemigrate.table_copy "
              "WHERE migration = $1::int",
              {std::to_string(id)})
            .rows.at(0);
    return {Number<uint64_t>(row, 0), Number<uint64_t>(row, 1), Number<uint64_t>(row, 2),
            Number<uint64_t>(row, 3), Number<uint64_t>(row, 4), Number<uint64_t>(row, 5)};
}

void
KeepWork(int32_t id, const std::optional<std::pair<CopyFigures, JobFigures>> &work) {
    std::vector<SqlValue> parameters = {std::to_string(id)};
    if (work) {
        const auto &[copy, jobs] = *work;
        for (const uint64_t figure : {copy.tables, copy.tables_done, copy.bytes, copy.bytes_done,
                                      copy.rows_done, jobs.jobs, jobs.jobs_done}) {
            parameters.emplace_back(std::to_string(figure));
        }
    }
    parameters.resize(8);
    Query("UPDATE livemigrate.migration SET tables_total = $2::bigint, "
          "tables_done = $3::bigint, bytes_total = $4::bigint, bytes_done = $5::bigint, "
          "rows_done = $6::bigint, indexes_total = $7::bigint, indexes_done = $8::bigint "
          "WHERE id = $1::int",
          parameters);
}

} // namespace livemigrate::control
