// dashboard(): a text screen for \watch, gathered from the views and drawn by core/dashboard.

#include "pg/prelude.hpp"

#include "api/arguments.hpp"
#include "api/sql_function.hpp"
#include "control/catalog.hpp"
#include "core/dashboard.hpp"
#include "pg/sql_row.hpp"

namespace livemigrate::api {

namespace {

using pg::SqlRow;

template <typename T>
std::optional<T>
OptionalNumber(const SqlRow &row, size_t column) {
    return row.at(column) ? std::optional(pg::Number<T>(row, column)) : std::nullopt;
}

void
LoadStatus(const std::string &id, DashboardData &data) {
    const pg::SqlResult result = pg::Query(
        "SELECT m.name, m.stage, m.stage_ended, m.state, s.message, s.hint, s.plugin, "
        "EXTRACT(epoch FROM COALESCE(m.ended_at, pg_catalog.clock_timestamp()) - m.started_at), "
        "EXTRACT(epoch FROM pg_catalog.clock_timestamp() - m.stage_started_at), s.tables_total, "
        "s.tables_done, s.bytes_total, s.bytes_done, s.indexes_total, s.indexes_done, "
        "s.transactions_applied, s.changes_applied, (SELECT pg_catalog.count(*) FROM "
        "livemigrate.conflict c WHERE c.migration = m.id), "
        "GREATEST(s.source_lsn - m.snapshot_lsn, 0)::bigint, "
        "GREATEST(s.applied_lsn - m.snapshot_lsn, 0)::bigint, "
        "EXTRACT(epoch FROM s.replay_lag), EXTRACT(epoch FROM s.eta), s.lag_bytes, s.spool_bytes, "
        "s.copy_bytes_per_second, s.changes_per_second, r.apply_bytes_per_second, "
        "r.source_bytes_per_second FROM livemigrate.migration m "
        "CROSS JOIN LATERAL livemigrate.migration_status(m.name) s "
        "CROSS JOIN LATERAL livemigrate.live_rates(m.id) r WHERE m.id = $1::int",
        {id});
    const SqlRow &row = result.rows.at(0);
    data.migration = pg::Text(row, 0);
    data.stage = ParseStage(pg::Text(row, 1));
    data.stage_ended = pg::Flag(row, 2);
    data.state = ParseState(pg::Text(row, 3));
    data.message = pg::Text(row, 4);
    data.hint = pg::Text(row, 5);
    data.plugin = pg::Text(row, 6);
    data.seconds = pg::Number<double>(row, 7);
    data.stage_seconds = pg::Number<double>(row, 8);
    data.tables_total = pg::Number<uint64_t>(row, 9);
    data.tables_done = pg::Number<uint64_t>(row, 10);
    data.bytes_total = pg::Number<uint64_t>(row, 11);
    data.bytes_done = pg::Number<uint64_t>(row, 12);
    data.indexes_total = pg::Number<uint64_t>(row, 13);
    data.indexes_done = pg::Number<uint64_t>(row, 14);
    data.transactions = pg::Number<uint64_t>(row, 15);
    data.changes = pg::Number<uint64_t>(row, 16);
    data.conflicts = pg::Number<uint64_t>(row, 17);
    data.stream_bytes = pg::Number<uint64_t>(row, 18);
    data.stream_bytes_applied = pg::Number<uint64_t>(row, 19);
    data.replay_lag = OptionalNumber<double>(row, 20);
    data.eta = OptionalNumber<double>(row, 21);
    data.lag_bytes = OptionalNumber<uint64_t>(row, 22);
    data.spool_bytes = OptionalNumber<uint64_t>(row, 23);
    data.copy_rate = pg::Number<double>(row, 24);
    data.change_rate = pg::Number<double>(row, 25);
    data.apply_rate = pg::Number<double>(row, 26);
    data.source_rate = pg::Number<double>(row, 27);
}

// Tables being copied, then statements being run, the largest first.
void
LoadTasks(const std::string &name, DashboardData &data) {
    const pg::SqlResult running = pg::Query(
        "SELECT name, done, seconds, note FROM ("
        "SELECT schema_name || '.' || table_name AS name, "
        "CASE WHEN bytes_total > 0 THEN bytes_done::float8 / bytes_total END AS done, "
        "EXTRACT(epoch FROM pg_catalog.clock_timestamp() - started_at) AS seconds, "
        "CASE WHEN parts > 1 THEN 'part ' || parts_done || '/' || parts END AS note, "
        "bytes_total AS bytes FROM livemigrate.table_progress "
        "WHERE migration = $1::name AND state = 'copying' UNION ALL "
        "SELECT COALESCE(schema_name || '.', '') || COALESCE(object_name, table_name, kind), "
        "CASE WHEN tuples_total > 0 THEN 0.5 + 0.5 * tuples_done::float8 / tuples_total "
        "WHEN blocks_total > 0 THEN 0.5 * blocks_done::float8 / blocks_total END, " // read, sorted
        "EXTRACT(epoch FROM pg_catalog.clock_timestamp() - started_at), kind, table_bytes "
        "FROM livemigrate.index_progress WHERE migration = $1::name AND state = 'running') AS t "
        "ORDER BY bytes DESC, name LIMIT 3",
        {name});
    for (const SqlRow &row : running.rows) {
        data.tasks.push_back({pg::Text(row, 0), OptionalNumber<double>(row, 1),
                              pg::Number<double>(row, 2), pg::Text(row, 3)});
    }
}

void
LoadEvents(const std::string &id, DashboardData &data) {
    const pg::SqlResult events = pg::Query(
        "SELECT pg_catalog.to_char(at, 'HH24:MI:SS'), severity, message FROM (SELECT * FROM "
        "livemigrate.event WHERE migration = $1::int ORDER BY id DESC LIMIT 3) AS e ORDER BY id",
        {id});
    for (const SqlRow &row : events.rows) {
        data.events.push_back({pg::Text(row, 0), pg::Text(row, 1), pg::Text(row, 2)});
    }
}

Datum
Dashboard(FunctionCallInfo fcinfo) {
    const std::string id = std::to_string(control::ResolveMigration(TextArgument(fcinfo, 0), true));
    const bool ascii = BoolArgument(fcinfo, 1).value_or(false) || GetDatabaseEncoding() != PG_UTF8;
    DashboardData data;
    LoadStatus(id, data);
    LoadTasks(data.migration, data);
    LoadEvents(id, data);
    return ReturnLines(fcinfo, RenderDashboard(data, ascii));
}

} // namespace

} // namespace livemigrate::api

LIVEMIGRATE_FUNCTION(livemigrate_dashboard, Dashboard)
