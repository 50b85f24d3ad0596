// migration_report and migration_report_json: the same facts, read from the tables once each.

#include "pg/prelude.hpp"

#include "api/arguments.hpp"
#include "api/sql_function.hpp"
#include "control/catalog.hpp"
#include "core/report.hpp"
#include "pg/guard.hpp"
#include "pg/sql_row.hpp"

namespace livemigrate::api {

namespace {

using pg::SqlResult;
using pg::SqlRow;

// The parameter $1 is the migration's id; times are seconds since its start.
constexpr char kMigration[] =
    "SELECT m.name, m.state, m.stage, s.message, s.hint, m.started_at::timestamptz(0), "
    "COALESCE(m.ended_at, pg_catalog.clock_timestamp())::timestamptz(0) AS ended_at, "
    "pg_catalog.clock_timestamp()::timestamptz(0) AS made_at, EXTRACT(epoch FROM "
    "COALESCE(m.ended_at, pg_catalog.clock_timestamp()) - m.started_at)::float8 AS seconds, "
    "s.bytes_total, s.rows_done, s.transactions_applied, s.changes_applied FROM "
    "livemigrate.migration m "
    "CROSS JOIN LATERAL livemigrate.migration_status(m.name) s WHERE m.id = $1::int";

// A stage lasts from its first event to that of the next one.
constexpr char kStages[] =
    "SELECT f.stage, EXTRACT(epoch FROM f.at - m.started_at)::float8 AS start, EXTRACT(epoch FROM "
    "COALESCE(pg_catalog.lead(f.at) OVER (ORDER BY f.at), m.ended_at, "
    "pg_catalog.clock_timestamp()) - m.started_at)::float8 AS \"end\" "
    "FROM livemigrate.migration m CROSS JOIN LATERAL (SELECT e.stage, pg_catalog.min(e.at) AS at "
    "FROM livemigrate.event e WHERE e.migration = m.id AND (m.ended_at IS NULL OR "
    "e.at <= m.ended_at) GROUP BY e.stage) f WHERE m.id = $1::int AND f.stage <> 'done' "
    "ORDER BY f.at";

constexpr char kTables[] =
    "SELECT t.schema_name || '.' || t.table_name AS name, 'table' AS kind, t.state, EXTRACT("
    "epoch FROM t.started_at - m.started_at)::float8 AS start, EXTRACT(epoch FROM "
    "COALESCE(t.finished_at, m.ended_at, pg_catalog.clock_timestamp()) - m.started_at)::float8 "
    "AS \"end\", t.bytes, t.rows_done AS rows, t.parts, t.error FROM livemigrate.migration m "
    "JOIN livemigrate.table_copy t ON t.migration = m.id WHERE m.id = $1::int AND t.copy_data "
    "ORDER BY t.started_at NULLS LAST, t.id";

constexpr char kJobs[] =
    "SELECT COALESCE(j.schema_name || '.', '') || COALESCE(j.object_name, j.table_name, j.kind) "
    "AS name, j.kind, j.state, EXTRACT(epoch FROM j.started_at - m.started_at)::float8 AS start, "
    "EXTRACT(epoch FROM COALESCE(j.finished_at, m.ended_at, pg_catalog.clock_timestamp()) - "
    "m.started_at)::float8 AS \"end\", j.bytes, 0 AS rows, 1 AS parts, j.error "
    "FROM livemigrate.migration m JOIN livemigrate.schema_job j ON j.migration = m.id "
    "WHERE m.id = $1::int ORDER BY j.started_at NULLS LAST, j.id";

constexpr char kSamples[] =
    "SELECT EXTRACT(epoch FROM s.at - m.started_at)::float8 AS at, EXTRACT(epoch FROM "
    "s.replay_lag)::float8 AS replay_lag, s.changes_per_second, s.apply_bytes_per_second, "
    "s.source_bytes_per_second, s.copy_bytes_per_second, s.lag_bytes, s.spool_bytes "
    "FROM livemigrate.migration m JOIN livemigrate.lag_sample s ON s.migration = m.id "
    "WHERE m.id = $1::int ORDER BY s.at";

constexpr char kChecks[] =
    "SELECT stage, check_id, severity, object, message, fix FROM livemigrate.check_result "
    "WHERE migration = $1::int ORDER BY severity = 'ok', stage, position";

constexpr char kComparisons[] =
    "SELECT relation, source_rows, target_rows, equal, at::timestamptz(0), source_checksum, "
    "target_checksum, differing_keys, detail, pg_catalog.concat_ws('; ', detail, 'keys: ' || "
    "pg_catalog.array_to_string(differing_keys, ', ')) AS found "
    "FROM livemigrate.comparison WHERE migration = $1::int ORDER BY relation";

constexpr char kSchemaCompared[] =
    "SELECT at::timestamptz(0) FROM livemigrate.schema_comparison WHERE migration = $1::int";

constexpr char kSchemaDifferences[] =
    "SELECT d.object, NULLIF(d.source, '') AS source, NULLIF(d.target, '') AS target "
    "FROM livemigrate.schema_comparison c CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest("
    "c.objects), pg_catalog.unnest(c.sources), pg_catalog.unnest(c.targets)) "
    "WITH ORDINALITY AS d(object, source, target, n) WHERE c.migration = $1::int ORDER BY d.n";

constexpr char kConflicts[] =
    "SELECT at::timestamptz(0), pg_catalog.concat_ws('.', schema_name, table_name) AS name, key, "
    "end_lsn, message, resolution, kind, xid, sqlstate FROM livemigrate.conflict "
    "WHERE migration = $1::int ORDER BY id";

constexpr char kSkipped[] =
    "SELECT commit_lsn, requested_by, requested_at::timestamptz(0), skipped_at::timestamptz(0), "
    "changes FROM livemigrate.skipped_transaction WHERE migration = $1::int ORDER BY commit_lsn";

constexpr char kEvents[] =
    "SELECT at::timestamptz(0), severity, stage, message, detail FROM livemigrate.event "
    "WHERE migration = $1::int ORDER BY id";

// What the view migrations shows of the call, never the connection string as it was given.
constexpr char kSettings[] =
    "SELECT e.key, e.value FROM livemigrate.migration m CROSS JOIN LATERAL "
    "pg_catalog.jsonb_each_text(pg_catalog.jsonb_build_object("
    "'source', m.source_redacted, 'owner', pg_catalog.pg_get_userbyid(m.owner), "
    "'plugin', m.plugin, 'requested_plugin', m.requested_plugin, 'pause_after', m.pause_after, "
    "'table_jobs', m.table_jobs, 'index_jobs', m.index_jobs, "
    "'split_tables_larger_than', pg_catalog.pg_size_pretty(m.split_bytes), "
    "'include_tables', m.include_tables, 'exclude_tables', m.exclude_tables, "
    "'exclude_table_data', m.exclude_table_data, 'roles', m.roles, 'restore_owner', "
    "m.restore_owner, 'privileges', m.restore_privileges, 'on_existing', m.on_existing, "
    "'options', m.options, 'source_version', m.source_version, 'source_encoding', "
    "m.source_encoding, 'target_version', pg_catalog.current_setting('server_version_num'), "
    "'slot_name', m.slot_name, 'publications', m.publications, 'snapshot_lsn', m.snapshot_lsn, "
    "'endpos', m.endpos)) e(key, value) WHERE m.id = $1::int AND e.value IS NOT NULL "
    "UNION ALL SELECT s.name, s.setting || COALESCE(' ' || s.unit, '') FROM "
    "pg_catalog.pg_settings s WHERE s.name LIKE 'livemigrate.%' ORDER BY 1";

SqlResult
Read(const char *query, int32_t id) {
    return pg::Query(query, {std::to_string(id)});
}

void
LoadSummary(int32_t id, ReportData &data) {
    const SqlRow row = Read(kMigration, id).rows.at(0);
    data.migration = pg::Text(row, 0);
    data.state = pg::Text(row, 1);
    data.stage = pg::Text(row, 2);
    data.message = pg::Text(row, 3);
    data.hint = pg::Text(row, 4);
    data.started = pg::Text(row, 5);
    data.ended = pg::Text(row, 6);
    data.made = pg::Text(row, 7);
    data.seconds = pg::Number<double>(row, 8);
    data.bytes = pg::Number<uint64_t>(row, 9);
    data.rows = pg::Number<uint64_t>(row, 10);
    data.transactions = pg::Number<uint64_t>(row, 11);
    data.changes = pg::Number<uint64_t>(row, 12);
}

std::vector<ReportTask>
LoadTasks(const char *query, int32_t id) {
    std::vector<ReportTask> tasks;
    for (const SqlRow &row : Read(query, id).rows) {
        ReportTask task;
        task.name = pg::Text(row, 0);
        task.kind = pg::Text(row, 1);
        task.state = pg::Text(row, 2);
        if (row[3]) {
            task.span = ReportSpan{pg::Number<double>(row, 3), pg::Number<double>(row, 4)};
        }
        task.bytes = pg::Number<uint64_t>(row, 5);
        task.rows = pg::Number<uint64_t>(row, 6);
        task.parts = pg::Number<int>(row, 7);
        task.error = pg::Text(row, 8);
        tasks.push_back(std::move(task));
    }
    return tasks;
}

void
LoadHistory(int32_t id, ReportData &data) {
    for (const SqlRow &row : Read(kStages, id).rows) {
        data.stages.push_back(
            {pg::Text(row, 0), {pg::Number<double>(row, 1), pg::Number<double>(row, 2)}});
    }
    for (const SqlRow &row : Read(kSamples, id).rows) {
        data.samples.push_back({pg::Number<double>(row, 0),
                                row[1] ? std::optional(pg::Number<double>(row, 1)) : std::nullopt,
                                pg::Number<double>(row, 2), pg::Number<double>(row, 3),
                                pg::Number<double>(row, 4), pg::Number<double>(row, 5)});
    }
    for (const SqlRow &row : Read(kEvents, id).rows) {
        data.events.push_back({pg::Text(row, 0), pg::Text(row, 1), pg::Text(row, 2),
                               pg::Text(row, 3), pg::Text(row, 4)});
    }
}

void
LoadFindings(int32_t id, ReportData &data) {
    for (const SqlRow &row : Read(kChecks, id).rows) {
        data.checks.push_back({pg::Text(row, 0), pg::Text(row, 1), pg::Text(row, 2),
                               pg::Text(row, 3), pg::Text(row, 4), pg::Text(row, 5)});
    }
    for (const SqlRow &row : Read(kComparisons, id).rows) {
        data.comparisons.push_back({pg::Text(row, 0), pg::Text(row, 1), pg::Text(row, 2),
                                    pg::Flag(row, 3), pg::Text(row, 4), pg::Text(row, 9)});
    }
    data.schema_compared = Read(kSchemaCompared, id).Scalar().value_or("");
    for (const SqlRow &row : Read(kSchemaDifferences, id).rows) {
        data.schema_differences.push_back({pg::Text(row, 0), pg::Text(row, 1), pg::Text(row, 2)});
    }
    for (const SqlRow &row : Read(kConflicts, id).rows) {
        data.conflicts.push_back({pg::Text(row, 0), pg::Text(row, 1), pg::Text(row, 2),
                                  pg::Text(row, 3), pg::Text(row, 4), pg::Text(row, 5)});
    }
    for (const SqlRow &row : Read(kSkipped, id).rows) {
        data.skipped.push_back({pg::Text(row, 0), pg::Text(row, 1), pg::Text(row, 2),
                                pg::Text(row, 3), pg::Text(row, 4)});
    }
    for (const SqlRow &row : Read(kSettings, id).rows) {
        data.settings.emplace_back(pg::Text(row, 0), pg::Text(row, 1));
    }
}

Datum
Report(FunctionCallInfo fcinfo) {
    const int32_t id = control::ResolveMigration(TextArgument(fcinfo, 0), true);
    ReportData data;
    LoadSummary(id, data);
    data.tables = LoadTasks(kTables, id);
    data.jobs = LoadTasks(kJobs, id);
    LoadHistory(id, data);
    LoadFindings(id, data);
    const std::string html = RenderReport(data);
    return pg::Call([&] { return CStringGetTextDatum(html.c_str()); });
}

// {"key": [rows of the query as objects], ...}
std::string
JsonOf(const char *query) {
    return std::string("(SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(q)), '[]') "
                       "FROM (") +
           query + ") AS q)";
}

Datum
ReportJson(FunctionCallInfo fcinfo) {
    const int32_t id = control::ResolveMigration(TextArgument(fcinfo, 0), true);
    const std::string sql =
        std::string("SELECT pg_catalog.jsonb_build_object('migration', (SELECT "
                    "pg_catalog.to_jsonb(q) FROM (") +
        kMigration + ") AS q), 'stages', " + JsonOf(kStages) + ", 'tables', " + JsonOf(kTables) +
        ", 'jobs', " + JsonOf(kJobs) + ", 'samples', " + JsonOf(kSamples) + ", 'checks', " +
        JsonOf(kChecks) + ", 'comparisons', " + JsonOf(kComparisons) + ", 'schema_compared', (" +
        kSchemaCompared + "), 'schema_differences', " + JsonOf(kSchemaDifferences) +
        ", 'conflicts', " + JsonOf(kConflicts) + ", 'skipped_transactions', " + JsonOf(kSkipped) +
        ", 'events', " + JsonOf(kEvents) +
        ", 'settings', (SELECT pg_catalog.jsonb_object_agg(q.key, q.value) FROM "
        "(" +
        kSettings + ") AS q))";
    const std::string json = Read(sql.c_str(), id).Scalar().value_or("{}");
    return pg::Call([&] { return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.c_str())); });
}

} // namespace

} // namespace livemigrate::api

LIVEMIGRATE_FUNCTION(livemigrate_migration_report, Report)
LIVEMIGRATE_FUNCTION(livemigrate_migration_report_json, ReportJson)
