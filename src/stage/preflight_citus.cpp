// Checks of Citus on the target, and of the tables that options `distributed_tables` and
// `reference_tables` name.
#include "pg/prelude.hpp"

#include "stage/preflight_run.hpp"

#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"
#include "pg/table_manager.hpp"
#include "stage/citus_limits.hpp"
#include "stage/key_problems.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace livemigrate::stage {

namespace {

using source::SourceTable;

// What makes the extension be in the database. Not every role may see what is preloaded.
std::string
InstallationFix() {
    constexpr char kCreate[] = "CREATE EXTENSION citus;";
    const pg::SqlRow row =
        pg::Query("SELECT EXISTS (SELECT FROM pg_catalog.pg_available_extensions "
                  "WHERE name = 'citus'), pg_catalog.current_setting('citus.shard_count', true) "
                  "IS NOT NULL, COALESCE((SELECT s.setting FROM pg_catalog.pg_settings s "
                  "WHERE s.name = 'shared_preload_libraries'), 'livemigrate')")
            .rows.at(0);
    if (!pg::Flag(row, 0)) {
        return "-- install Citus for the target's server, then: " + std::string(kCreate);
    }
    if (pg::Flag(row, 1)) {
        return kCreate;
    }
    return "ALTER SYSTEM SET shared_preload_libraries = citus, " + pg::Text(row, 2) +
           ";\n-- then restart the target, and: " + kCreate;
}

// Returns false if nothing else needs to be looked at.
bool
CheckExtension(PreflightRun &run) {
    if (!pg::Query("SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus'").rows.empty()) {
        return true;
    }
    if (!run.settings.distributions.empty()) {
        run.Fail("citus", sqlstate::kUndefinedObject, "target",
                 "extension citus, which the options' distributed and reference tables need, is "
                 "not in the target database",
                 InstallationFix());
    }
    return false;
}

const SourceTable *
FindSelected(const PreflightRun &run, const std::string &schema, const std::string &name) {
    const auto &tables = run.result.tables;
    const auto found = std::find_if(tables.begin(), tables.end(), [&](const SourceTable &table) {
        return table.schema == schema && table.name == name;
    });
    return found == tables.end() ? nullptr : &*found;
}

// Whether the table is of a kind that Citus takes; a row if not.
bool
CheckKind(PreflightRun &run, const DistributionOption &option, const SourceTable &table) {
    const std::string name = TableName(table);
    const auto refuse = [&](const std::string &why, const std::string &fix) {
        run.Fail("citus", sqlstate::kFeatureNotSupported, name, "table " + name + " " + why,
                 "-- " + fix);
        return false;
    };
    if (table.is_partition) {
        return refuse("is a partition, which Citus takes with its root alone",
                      "name the partitioned table in the options instead");
    }
    if (option.is_reference() && table.relkind == 'p') {
        return refuse("is partitioned, so it cannot become a reference table",
                      "name it in distributed_tables, or leave it as it is");
    }
    const auto &all = run.result.tables;
    const bool deep = std::any_of(all.begin(), all.end(), [&](const SourceTable &other) {
        return other.is_partition && other.parent_oid == table.oid && other.relkind == 'p';
    });
    if (deep) {
        return refuse("has partitions that are partitioned, which Citus does not take",
                      "leave it out of the options: it stays as it is");
    }
    const auto inherited = run.source.Query(
        "SELECT FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid "
        "WHERE NOT c.relispartition AND " +
        std::to_string(table.oid) + " IN (i.inhrelid, i.inhparent) LIMIT 1");
    if (!inherited.rows.empty()) {
        return refuse("inherits or is inherited, which Citus does not take",
                      "leave it out of the options: it stays as it is");
    }
    return true;
}

// Hash distribution takes a default operator class for hash and one for btree; those of the
// polymorphic types are theirs whatever the type.
std::string
ColumnQuery(const SourceTable &table, const std::string &column) {
    return "SELECT a.attnotnull, COALESCE(pg_catalog.to_jsonb(a)->>'attgenerated', '') <> '', "
           "pg_catalog.concat(pg_catalog.format_type(a.atttypid, NULL), ' ', a.attcollation), "
           "COALESCE(pg_catalog.to_jsonb(l)->>'collisdeterministic', 'true') <> 'true', "
           "t.typtype IN ('c', 'd', 'e', 'r') OR t.typcategory = 'A' OR 2 <= "
           "(SELECT pg_catalog.count(DISTINCT m.amname) FROM pg_catalog.pg_opclass o "
           "JOIN pg_catalog.pg_am m ON m.oid = o.opcmethod "
           "WHERE o.opcdefault AND m.amname IN ('hash', 'btree') AND (o.opcintype = t.oid OR "
           "EXISTS (SELECT FROM pg_catalog.pg_cast k WHERE k.castsource = t.oid "
           "AND k.casttarget = o.opcintype AND k.castmethod = 'b' AND k.castcontext = 'i'))) "
           "FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid "
           "LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation WHERE a.attrelid = " +
           std::to_string(table.oid) +
           " AND NOT a.attisdropped AND a.attnum > 0 AND a.attname = " + QuoteLiteral(column);
}

// The column's type and collation, or empty, with a row, if rows cannot be distributed by it.
std::string
CheckColumn(PreflightRun &run, const DistributionOption &option, const SourceTable &table) {
    const std::string name = TableName(table);
    const std::string column = "column " + QuoteIdentifier(option.column) + " of table " + name;
    const pg::SqlResult found = run.source.Query(ColumnQuery(table, option.column));
    if (found.rows.empty()) {
        run.Fail("citus", sqlstate::kUndefinedColumn, name,
                 "table " + name + " has no column " + QuoteIdentifier(option.column) +
                     ", which option \"distributed_tables\" names",
                 "-- name columns as they are written in the catalog");
        return "";
    }
    const pg::SqlRow &row = found.rows[0];
    const char *why = pg::Flag(row, 1)    ? "it is generated"
                      : pg::Flag(row, 3)  ? "its collation is not deterministic"
                      : !pg::Flag(row, 4) ? "its type has no hash"
                                          : nullptr;
    if (why != nullptr) {
        run.Fail("citus", sqlstate::kInvalidParameterValue, name,
                 column + " cannot place rows: " + why, "-- name another column");
        return "";
    }
    if (!pg::Flag(row, 0)) {
        run.Warning("citus", name, column + " may be NULL, which Citus takes in no row",
                    "ALTER TABLE " + name + " ALTER COLUMN " + QuoteIdentifier(option.column) +
                        " SET NOT NULL;");
    }
    return pg::Text(row, 2);
}

class Planner {
  public:
    explicit Planner(PreflightRun &run)
        : run_(run),
          shard_count_(
              pg::Query(
                  "SELECT COALESCE(pg_catalog.current_setting('citus.shard_count', true), '')")
                  .Scalar()
                  .value()) {}

    // Checks the option; what it plans is then in tables().
    void
    Add(const DistributionOption &option) {
        const std::string name = QualifiedName(option.schema, option.table);
        const SourceTable *table = FindSelected(run_, option.schema, option.table);
        if (table == nullptr) {
            run_.Fail("citus", sqlstate::kUndefinedTable, name,
                      "table " + name + ", which the options name, is not migrated",
                      "-- write schema.table, names with capital letters as they are");
            return;
        }
        if (!CheckKind(run_, option, *table)) {
            return;
        }
        Distribution plan;
        plan.is_planned = true;
        plan.kind = Distribution::Kind::kReference;
        if (!option.is_reference()) {
            plan.kind = Distribution::Kind::kDistributed;
            plan.column = option.column;
            plan.type = CheckColumn(run_, option, *table);
            if (plan.type.empty() || !FindGroup(option, name, plan)) {
                return;
            }
        }
        plans_[table->oid] = plan;
        for (const SourceTable &part : run_.result.tables) {
            if (part.is_partition && part.parent_oid == table->oid) {
                plans_[part.oid] = plan;
            }
        }
    }

    // The selected tables, with what is planned for them.
    std::vector<PlacedTable>
    tables() const {
        std::vector<PlacedTable> tables;
        for (const SourceTable &table : run_.result.tables) {
            const auto plan = plans_.find(table.oid);
            tables.push_back(
                {table.oid, table.schema, table.name,
                 plan != plans_.end() ? plan->second : DistributionOf(table.schema, table.name)});
        }
        return tables;
    }

  private:
    // Beside which other tables the shards will lie; false, with a row, if they cannot.
    bool
    FindGroup(const DistributionOption &option, const std::string &name, Distribution &plan) {
        if (option.colocate_none) {
            plan.group = "none " + name;
            return true;
        }
        if (option.colocate_table.empty()) {
            plan.group =
                "default " + plan.type + " " +
                (option.shard_count > 0 ? std::to_string(option.shard_count) : shard_count_);
            return true;
        }
        const std::string other = QualifiedName(option.colocate_schema, option.colocate_table);
        const SourceTable *named =
            FindSelected(run_, option.colocate_schema, option.colocate_table);
        const auto found = named == nullptr ? plans_.end() : plans_.find(named->oid);
        const Distribution beside =
            found != plans_.end() ? found->second
                                  : DistributionOf(option.colocate_schema, option.colocate_table);
        if (beside.kind != Distribution::Kind::kDistributed) {
            run_.Fail("citus", sqlstate::kInvalidParameterValue, name,
                      "table " + name + " cannot be colocated with " + other +
                          ", which is no distributed table",
                      "-- name it in option \"distributed_tables\", too");
            return false;
        }
        if (!beside.type.empty() && beside.type != plan.type) {
            run_.Fail("citus", sqlstate::kInvalidParameterValue, name,
                      "table " + name + " cannot be colocated with " + other +
                          ": their distribution columns differ in type or collation",
                      "-- \"colocate_with\": \"none\", or columns of the same type");
            return false;
        }
        plan.group = beside.group;
        return true;
    }

    PreflightRun &run_;
    std::string shard_count_;
    std::map<uint32_t, Distribution> plans_;
};

// A row without a key is found by its place, which Citus's planner does not take.
void
CheckIdentity(PreflightRun &run, const SourceTable &table) {
    if (table.replica_identity != 'f' || !run.HasData(table)) {
        return;
    }
    const std::string name = TableName(table);
    const std::string alter = "ALTER TABLE " + name + " ";
    run.Fail("citus_limits", sqlstate::kFeatureNotSupported, name,
             "table " + name +
                 " has REPLICA IDENTITY FULL, with which changes to a table of Citus's cannot be "
                 "applied",
             "-- on the source:\n" +
                 (table.primary_key_usable
                      ? alter + "REPLICA IDENTITY DEFAULT;"
                      : alter + "ADD PRIMARY KEY (...);\n" + alter + "REPLICA IDENTITY DEFAULT;"));
}

// What the user can put right while the migration is paused behind the schema is no error then.
void
Report(PreflightRun &run, const TableProblem &problem) {
    const auto &pauses = run.settings.pause_after;
    const bool pauses_there =
        std::find(pauses.begin(), pauses.end(), Stage::kSchema) != pauses.end();
    if (problem.at_source) {
        run.Fail("citus_limits", sqlstate::kFeatureNotSupported, problem.table, problem.message,
                 "-- on the source:\n" + problem.fix);
    } else if (pauses_there) {
        run.Warning("citus_limits", problem.table, problem.message,
                    "-- at the pause after stage schema:\n" + problem.fix);
    } else {
        run.Fail("citus_limits", sqlstate::kFeatureNotSupported, problem.table, problem.message,
                 "-- start with pause_after => '{schema}', and run there before "
                 "migration_resume():\n" +
                     problem.fix);
    }
}

void
CheckLimits(PreflightRun &run, const std::vector<PlacedTable> &tables) {
    for (size_t i = 0; i < tables.size(); i++) {
        if (tables[i].distribution.kind != Distribution::Kind::kLocal) {
            CheckIdentity(run, run.result.tables[i]);
        }
    }
    for (const TableProblem &problem : FindWideIdentities(run.source, tables)) {
        run.Warning("citus_limits", problem.table, problem.message,
                    "-- on the source:\n" + problem.fix);
    }
    if (run.settings.on_existing != OnExisting::kError || run.settings.existing_slot) {
        return; // Nothing else is made there.
    }
    const auto report = [&run](const std::vector<TableProblem> &problems) {
        for (const TableProblem &problem : problems) {
            Report(run, problem);
        }
    };
    for (const PlacedTable &table : tables) {
        if (table.distribution.kind == Distribution::Kind::kDistributed) {
            report(FindKeyProblems(run.source, table.source_oid, table.schema, table.table,
                                   {table.distribution.column}, pg::TableManager::kCitus));
        }
    }
    report(FindForeignKeyProblems(run.source, tables));
    report(FindCitusLimits(run.source, tables));
}

// What has no distribution column, and all its rows in one shard.
void
CheckSingleShards(PreflightRun &run, const std::vector<PlacedTable> &tables) {
    for (const TableProblem &problem : FindSingleShards(tables)) {
        run.Fail("citus", sqlstate::kFeatureNotSupported, problem.table, problem.message,
                 problem.fix);
    }
    if (!run.CreatesSchema()) {
        return;
    }
    std::set<std::string> schemas;
    for (const PlacedTable &table : tables) {
        schemas.insert(table.schema);
    }
    for (const std::string &schema : DistributedSchemas(schemas)) {
        const std::string name = QuoteIdentifier(schema);
        run.Fail("citus", sqlstate::kFeatureNotSupported, name,
                 "schema " + name +
                     " of the target is distributed: Citus would make single-shard tables of those "
                     "that are created there, which livemigrate does not support",
                 "SELECT citus_schema_undistribute(" + QuoteLiteral(name) + ");");
    }
    if (const std::string fix = SchemaShardingFix(schemas); !fix.empty()) {
        run.Fail("citus", sqlstate::kFeatureNotSupported, "target",
                 "citus.enable_schema_based_sharding is on, with which Citus would make single-"
                 "shard tables of those in each schema that is created; livemigrate does not "
                 "support them",
                 fix);
    }
}

} // namespace

void
CheckCitus(PreflightRun &run) {
    if (!CheckExtension(run)) {
        return;
    }
    Planner planner(run);
    for (const DistributionOption &option : run.settings.distributions) {
        planner.Add(option);
    }
    const std::vector<PlacedTable> tables = planner.tables();
    CheckSingleShards(run, tables);
    const auto placed = static_cast<size_t>(
        std::count_if(tables.begin(), tables.end(), [](const PlacedTable &table) {
            return table.distribution.kind != Distribution::Kind::kLocal;
        }));
    if (placed == 0) {
        run.Notice("citus", "target",
                   "no table is distributed yet: what Citus refuses of those that are after stage "
                   "schema is looked for when stage data begins: keys and exclusion constraints "
                   "without the distribution column, foreign keys, triggers, REPLICA IDENTITY FULL",
                   "-- or name them in options \"distributed_tables\" and \"reference_tables\"");
        return;
    }
    CheckLimits(run, tables);
    if (!run.Failed("citus") && !run.Failed("citus_limits")) {
        run.Ok("citus", "target", Count(placed, "table") + " to be kept by Citus");
    }
}

} // namespace livemigrate::stage
