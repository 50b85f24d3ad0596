// Checks of TimescaleDB on the target, and of the tables that option `hypertables` names.
#include "pg/prelude.hpp"

#include "stage/preflight_run.hpp"

#include "core/sql_text.hpp"
#include "core/version.hpp"
#include "pg/sql_row.hpp"
#include "stage/hypertable_limits.hpp"
#include "stage/key_problems.hpp"

#include <algorithm>

namespace livemigrate::stage {

namespace {

// Types of a time column: name and whether its chunks are counted in numbers.
constexpr char kTimeTypes[] = "('timestamptz', 'timestamp', 'date', 'int2', 'int4', 'int8')";

// From this version on rows of compressed chunks can be updated and deleted.
constexpr char kWritesCompressed[] = "2.11.0";

// Returns false if nothing else needs to be looked at.
bool
CheckExtension(PreflightRun &run) {
    const auto version =
        pg::Query("SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'timescaledb'")
            .Scalar();
    if (version && CompareVersions(*version, kWritesCompressed) < 0) {
        run.Warning("hypertables", "target",
                    "TimescaleDB " + *version +
                        " cannot update or delete rows of compressed chunks, as 2.11 does: apply "
                        "fails where a change reaches one",
                    "ALTER EXTENSION timescaledb UPDATE; -- as the first command of a session, "
                    "with 2.11 or newer installed\n"
                    "-- or: compress no chunk until the migration is done");
    }
    if (version) {
        return true;
    }
    if (!run.settings.hypertables.empty()) {
        run.Fail("hypertables", sqlstate::kUndefinedObject, "target",
                 "extension timescaledb, which option \"hypertables\" needs, is not in the target "
                 "database",
                 "CREATE EXTENSION timescaledb;");
    }
    return false;
}

const source::SourceTable *
FindSelected(const PreflightRun &run, const HypertableOption &option) {
    const auto &tables = run.result.tables;
    const auto found = std::find_if(tables.begin(), tables.end(), [&](const auto &table) {
        return table.schema == option.schema && table.name == option.table;
    });
    return found == tables.end() ? nullptr : &*found;
}

bool
CheckColumn(PreflightRun &run, const HypertableOption &option, const source::SourceTable &table,
            const std::string &column, bool is_time) {
    const pg::SqlResult found = run.source.Query(
        "SELECT a.attnotnull, t.typname IN " + std::string(kTimeTypes) +
        ", COALESCE(pg_catalog.to_jsonb(a)->>'attgenerated', '') <> '' FROM "
        "pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid "
        "WHERE a.attrelid = " +
        std::to_string(table.oid) +
        " AND NOT a.attisdropped AND a.attnum > 0 AND a.attname = " + QuoteLiteral(column));
    const std::string name = TableName(table);
    if (found.rows.empty()) {
        run.Fail("hypertables", sqlstate::kUndefinedColumn, name,
                 "table " + name + " has no column " + QuoteIdentifier(column) +
                     ", which option \"hypertables\" names",
                 "-- name columns as they are written in the catalog");
        return false;
    }
    if (is_time && !pg::Flag(found.rows[0], 1)) {
        run.Fail("hypertables", sqlstate::kInvalidParameterValue, name,
                 "column " + QuoteIdentifier(column) + " of table " + name +
                     " cannot be a hypertable's time: its type is no time and no integer",
                 "-- name a column of type timestamptz, timestamp, date or an integer type");
        return false;
    }
    if (pg::Flag(found.rows[0], 2)) {
        run.Fail("hypertables", sqlstate::kInvalidParameterValue, name,
                 "column " + QuoteIdentifier(column) + " of table " + name +
                     " cannot place a hypertable's rows: it is generated",
                 "-- name another column");
        return false;
    }
    if (is_time && !pg::Flag(found.rows[0], 0)) {
        run.Warning("hypertables", name,
                    "column " + QuoteIdentifier(option.time_column) + " of table " + name +
                        " may be NULL, which no row of a hypertable's time can",
                    "ALTER TABLE " + name + " ALTER COLUMN " + QuoteIdentifier(column) +
                        " SET NOT NULL;");
    }
    return true;
}

void
CheckOption(PreflightRun &run, const HypertableOption &option) {
    const std::string name = QualifiedName(option.schema, option.table);
    const source::SourceTable *table = FindSelected(run, option);
    if (table == nullptr) {
        run.Fail("hypertables", sqlstate::kUndefinedTable, name,
                 "table " + name + ", which option \"hypertables\" names, is not migrated",
                 "-- write schema.table, names with capital letters as they are");
        return;
    }
    if (table->relkind != 'r' || table->is_partition) {
        run.Fail("hypertables", sqlstate::kFeatureNotSupported, name,
                 "table " + name + " is partitioned, so it cannot become a hypertable",
                 "-- leave it out of option \"hypertables\": it stays partitioned as it is");
        return;
    }
    std::vector<std::string> placement = {option.time_column};
    bool has_columns = CheckColumn(run, option, *table, option.time_column, true);
    if (!option.partition_column.empty()) {
        placement.push_back(option.partition_column);
        has_columns =
            CheckColumn(run, option, *table, option.partition_column, false) && has_columns;
    }
    if (!has_columns) {
        return;
    }
    for (const TableProblem &problem :
         FindKeyProblems(run.source, table->oid, table->schema, table->name, placement,
                         pg::TableManager::kTimescaledb)) {
        run.Fail("hypertable_keys", sqlstate::kFeatureNotSupported, name, problem.message,
                 Comment("start with pause_after => '{schema}', make the hypertable there, and run "
                         "before migration_resume():") +
                     "\n" + LateFix(problem));
    }
}

// What else of the tables TimescaleDB refuses.
void
CheckLimits(PreflightRun &run) {
    HypertableSources sources;
    for (const source::SourceTable &table : run.result.tables) {
        sources.tables.push_back(table.oid);
    }
    for (const HypertableOption &option : run.settings.hypertables) {
        const source::SourceTable *table = FindSelected(run, option);
        if (table != nullptr && table->relkind == 'r' && !table->is_partition) {
            sources.hypertables.push_back(table->oid);
        }
    }
    for (const TableProblem &problem : FindHypertableLimits(run.source, sources)) {
        run.Fail("hypertable_limits", sqlstate::kFeatureNotSupported, problem.table,
                 problem.message,
                 problem.at_source ? "-- on the source:\n" + problem.fix : problem.fix);
    }
}

} // namespace

void
CheckHypertables(PreflightRun &run) {
    if (!CheckExtension(run)) {
        return;
    }
    for (const HypertableOption &option : run.settings.hypertables) {
        CheckOption(run, option);
    }
    CheckLimits(run);
    if (!run.Failed("hypertables") && !run.Failed("hypertable_keys") &&
        !run.Failed("hypertable_limits")) {
        run.Ok("hypertables", "target",
               Count(run.settings.hypertables.size(), "hypertable") +
                   " to be made; others can be after stage schema");
    }
}

} // namespace livemigrate::stage
