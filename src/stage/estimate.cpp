#include "pg/prelude.hpp"

#include "stage/estimate.hpp"

#include "core/sql_text.hpp"
#include "core/table_pattern.hpp"
#include "pg/guard.hpp"
#include "pg/sql_row.hpp"
#include "source/catalog_query.hpp"
#include "source/locked_relations.hpp"
#include "source/connection.hpp"

#include <algorithm>

namespace livemigrate::stage {

namespace {

using Clock = std::chrono::steady_clock;

double
SecondsSince(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

TableFilter
FilterOf(const std::optional<std::vector<std::string>> &include,
         const std::vector<std::string> &exclude) {
    TableFilter filter;
    if (include) {
        filter.include = ParseTablePatterns(*include);
    }
    filter.exclude = ParseTablePatterns(exclude);
    return filter;
}

// The oids of the tables whose rows are copied, for IN (...).
std::string
AddTables(source::Connection &source, const MigrationSettings &settings, EstimateInput &input,
          std::optional<source::SourceTable> &largest) {
    const TableFilter wanted = FilterOf(settings.include_tables, settings.exclude_tables);
    const TableFilter with_rows = FilterOf(std::nullopt, settings.exclude_table_data);
    std::string oids = "0";
    for (const source::SourceTable &table : source::ListTables(source)) {
        if (table.relkind != 'r' || !wanted.Selects(table.schema, table.name) ||
            !with_rows.Selects(table.schema, table.name)) {
            continue;
        }
        input.tables++;
        input.table_bytes += table.bytes;
        oids += ',' + std::to_string(table.oid);
        if (table.can_select && (!largest || table.bytes > largest->bytes)) {
            largest = table;
        }
    }
    input.largest_table_bytes = largest ? largest->bytes : 0;
    input.largest_is_split = source.server_version() >= source::kTidRangeScanVersion &&
                             settings.split_bytes > 0 &&
                             input.largest_table_bytes > settings.split_bytes;
    return oids;
}

// The size of a relation, as an expression behind kLockedRelations. pg_relation_size() and its like
// wait for whoever has it or the table that it belongs to for himself: then what was counted last
// has to do.
std::string
SizeOf(const std::string &relation, const std::string &measure, const std::string &table) {
    return "CASE WHEN " + relation + ".oid IN (SELECT relation FROM locked) OR " + table +
           " IN (SELECT relation FROM locked) THEN " + relation +
           ".relpages * pg_catalog.current_setting('block_size')::bigint ELSE pg_catalog." +
           measure + "(" + relation + ".oid) END";
}

void
AddSizes(source::Connection &source, const std::string &oids, EstimateInput &input) {
    const pg::SqlResult sizes = source.Query(
        std::string("WITH ") + source::kLockedRelations +
        "SELECT i.indexes, i.bytes, CASE WHEN EXISTS (SELECT FROM "
        "pg_catalog.pg_largeobject_metadata) THEN "
        "pg_catalog.pg_relation_size('pg_catalog.pg_largeobject'::pg_catalog.regclass) ELSE 0 "
        "END, (SELECT COALESCE(pg_catalog.sum(" +
        SizeOf("m", "pg_table_size", "m.oid") +
        "), 0)::bigint FROM pg_catalog.pg_class m WHERE m.relkind = 'm'), (SELECT "
        "pg_catalog.count(*) FROM pg_catalog.pg_class WHERE relkind = 'S') FROM (SELECT "
        "pg_catalog.count(*) AS indexes, COALESCE(pg_catalog.sum(" +
        SizeOf("x", "pg_relation_size", "k.indrelid") +
        "), 0)::bigint AS bytes FROM pg_catalog.pg_index k JOIN pg_catalog.pg_class x ON x.oid = "
        "k.indexrelid WHERE k.indrelid IN (" +
        oids + ")) i");
    const pg::SqlRow &row = sizes.rows.at(0);
    input.indexes = pg::Number<uint64_t>(row, 0);
    input.index_bytes = pg::Number<uint64_t>(row, 1);
    input.large_object_bytes = pg::Number<uint64_t>(row, 2);
    input.materialized_view_bytes = pg::Number<uint64_t>(row, 3);
    input.sequences = pg::Number<uint64_t>(row, 4);
}

uint64_t
WalPosition(source::Connection &source) {
    return pg::Position(source.Query("SELECT pg_catalog.pg_current_wal_insert_lsn()").rows.at(0), 0)
        .value;
}

// Fetches rows of the table as text until the time is over, at most 64 kB of each so that memory
// stays small. What counts is what the rows take on the source's disk, as that is what is known of
// the other tables: the part of the table's pages that the sample came through. 0 if somebody keeps
// the table locked.
double
MeasureRead(source::Connection &source, const source::SourceTable &table, double seconds) {
    constexpr size_t kBatch = 1000;
    source.Query(
        "BEGIN READ ONLY; SET LOCAL synchronize_seqscans = off; SET LOCAL lock_timeout = '1s'");
    const Clock::time_point start = Clock::now();
    double passed = 0;
    double part = 1;
    try {
        source.Query(
            "DECLARE sample NO SCROLL CURSOR FOR SELECT pg_catalog.left(t::text, 65536), "
            "pg_catalog.split_part(pg_catalog.ltrim(t.ctid::text, '('), ',', 1) FROM ONLY " +
            QualifiedName(table.schema, table.name) + " t");
        for (bool more = true; more;) {
            const pg::SqlResult rows =
                source.Query("FETCH " + std::to_string(kBatch) + " FROM sample");
            passed = SecondsSince(start);
            more = rows.rows.size() == kBatch && passed < seconds;
            if (rows.rows.size() == kBatch && table.pages > 0) {
                part = std::min(1.0, (pg::Number<double>(rows.rows.back(), 1) + 1) /
                                         static_cast<double>(table.pages));
            } else {
                part = 1; // it came to the end
            }
        }
    } catch (const Error &error) {
        if (error.sqlstate() != sqlstate::kLockNotAvailable) {
            throw;
        }
        passed = 0;
    }
    source.Query("ROLLBACK");
    return passed > 0 ? part * static_cast<double>(table.bytes) / passed : 0;
}

// A logged table of some 30 MB and an index on it, gone again at the end.
void
MeasureTarget(EstimateInput &input) {
    const std::string table = "livemigrate.estimate_" + std::to_string(MyProcPid);
    Clock::time_point start = Clock::now();
    pg::Execute("CREATE TABLE " + table +
                " AS SELECT g AS id, pg_catalog.repeat(pg_catalog.md5(g::text), 8) AS v FROM "
                "pg_catalog.generate_series(1, 100000) AS g");
    const double written = SecondsSince(start);
    const auto bytes = pg::Number<double>(
        pg::Query("SELECT pg_catalog.pg_table_size($1::text::pg_catalog.regclass)", {table})
            .rows.at(0),
        0);
    start = Clock::now();
    pg::Execute("CREATE INDEX ON " + table + " (pg_catalog.md5(v))");
    const double indexed = SecondsSince(start);
    const auto index_bytes = pg::Number<double>(
        pg::Query("SELECT pg_catalog.pg_indexes_size($1::text::pg_catalog.regclass)", {table})
            .rows.at(0),
        0);
    pg::Execute("DROP TABLE " + table);
    input.write_rate = written > 0 ? bytes / written : 0;
    input.index_rate = indexed > 0 ? index_bytes / indexed : 0;
}

} // namespace

EstimateInput
MeasureForEstimate(const MigrationSettings &settings, std::chrono::milliseconds sample) {
    EstimateInput input;
    input.table_jobs = settings.table_jobs;
    input.index_jobs = settings.index_jobs;
    source::Connection source =
        source::Connection::Open(settings.source, source::ConnectionKind::kSql);
    std::optional<source::SourceTable> largest;
    AddSizes(source, AddTables(source, settings, input, largest), input);
    const Clock::time_point start = Clock::now();
    const uint64_t before = WalPosition(source);
    const double seconds = std::chrono::duration<double>(sample).count();
    if (largest && largest->bytes > 0) {
        input.read_rate = MeasureRead(source, *largest, seconds);
    }
    MeasureTarget(input);
    input.sample_seconds = SecondsSince(start);
    input.source_wal_rate =
        static_cast<double>(WalPosition(source) - before) / std::max(0.001, input.sample_seconds);
    return input;
}

} // namespace livemigrate::stage
