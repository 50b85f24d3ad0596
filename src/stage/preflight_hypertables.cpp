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

// From this version on background jobs are stopped and started by the functions that
// policy_jobs.cpp calls; from 2.11 on rows of compressed chunks can be updated and deleted.
constexpr char kOldest[] = "2.12.0";

// Its version; nothing if nothing else needs to be looked at.
std::optional<std::string>
CheckExtension(PreflightRun &run) {
    const auto version =
        pg::Query("SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'timescaledb'")
            .Scalar();
    if (version && CompareVersions(*version, kOldest) < 0) {
        run.Fail("hypertables", sqlstate::kFeatureNotSupported, "target",
                 "TimescaleDB " + *version +
                     " is too old: its jobs cannot be stopped for the copy, as with 2.12 and newer",
                 "ALTER EXTENSION timescaledb UPDATE; -- as the first command of a session, with "
                 "2.12 or newer installed");
    }
    if (version) {
        return version;
    }
    if (!run.settings.hypertables.empty()) {
        run.Fail("hypertables", sqlstate::kUndefinedObject, "target",
                 "extension timescaledb, which option \"hypertables\" needs, is not in the target "
                 "database",
                 "CREATE EXTENSION timescaledb;");
    }
    return {};
}

const source::SourceTable *
FindSelected(const PreflightRun &run, const HypertableOption &option) {
    const auto &tables = run.result.tables;
    const auto found = std::find_if(tables.begin(), tables.end(), [&](const auto &table) {
        return table.schema == option.schema && table.name == option.table;
    });
    return found == tables.end() ? nullptr : &*found;
}

void
CheckOption(PreflightRun &run, const HypertableOption &option, const std::string &timescaledb) {
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
    if (!CheckHypertableColumns(run, option, *table, timescaledb)) {
        return;
    }
    std::vector<std::string> placement = {option.time_column};
    if (!option.partition_column.empty()) {
        placement.push_back(option.partition_column);
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
    const std::optional<std::string> timescaledb = CheckExtension(run);
    if (!timescaledb) {
        return;
    }
    for (const HypertableOption &option : run.settings.hypertables) {
        CheckOption(run, option, *timescaledb);
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
