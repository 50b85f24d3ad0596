// compare_schema, compare_data and compare_rows.

#include "pg/prelude.hpp"

#include "api/arguments.hpp"
#include "api/named_migration.hpp"
#include "api/sql_function.hpp"
#include "control/comparison.hpp"
#include "control/table_selection.hpp"
#include "core/operator_text.hpp"
#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/partition_routing.hpp"
#include "pg/sql_row.hpp"
#include "pg/table_manager.hpp"
#include "source/catalog_query.hpp"
#include "source/connection.hpp"
#include "stage/compare_schema.hpp"

#include <algorithm>

namespace livemigrate::api {

namespace {

using control::Migration;

// Rows of some partitions lie in others on the target (pg/partition_routing): those are compared as
// a whole, once.
bool
AddRoutedRoot(const CopyTable &table, std::vector<stage::ComparedTable> &tables) {
    const Oid relid = pg::FindTable(table.target_schema, table.target_name);
    const Oid root = OidIsValid(relid) ? pg::RoutingRelation(relid) : relid;
    if (root == relid && !(OidIsValid(relid) && table.through_root())) {
        return false;
    }
    const auto names = pg::NameOf(root);
    const bool known = std::any_of(tables.begin(), tables.end(), [&](const auto &other) {
        return other.schema == names.first && other.name == names.second;
    });
    if (!known) {
        tables.push_back({names.first, names.second, false, false});
    }
    return true;
}

// Tables with rows of their own; a target that turned one into something else is read whole.
std::vector<stage::ComparedTable>
TablesToCompare(const Migration &migration,
                const std::optional<std::vector<std::string>> &patterns) {
    TableFilter wanted;
    if (patterns) {
        wanted.include = ParseTablePatterns(*patterns);
    }
    std::vector<stage::ComparedTable> tables;
    for (const CopyTable &table : control::LoadTables(migration.id)) {
        if (table.relkind != 'r' || !table.copy_data || !wanted.Selects(table.schema, table.name)) {
            continue;
        }
        if (AddRoutedRoot(table, tables)) {
            continue;
        }
        stage::ComparedTable compared;
        compared.schema = table.schema;
        compared.name = table.name;
        compared.target_only = pg::IsOneHeap(table.schema, table.name);
        tables.push_back(std::move(compared));
    }
    if (patterns && tables.empty()) {
        throw Error(sqlstate::kUndefinedTable, "no table of the migration matches")
            .Hint("SELECT schema_name, table_name FROM livemigrate.table_progress;");
    }
    return tables;
}

void
CheckHasTables(const Migration &migration) {
    if (migration.stage < Stage::kSchema) {
        throw Error(sqlstate::kObjectNotInPrerequisiteState, "the target's tables do not exist yet")
            .Hint(control::NamedHint(migration.id, "CALL livemigrate.migration_wait('schema');"));
    }
}

pg::SqlValue
TextOrNull(const std::string &value) {
    return value.empty() ? std::nullopt : pg::SqlValue(value);
}

// Keys only of those; compare_rows tells more.
pg::SqlValue
DifferingKeys(const control::TableComparison &result) {
    std::vector<std::string> keys;
    for (const stage::DifferingRow &row : result.rows) {
        keys.push_back(row.key);
    }
    return keys.empty() ? std::nullopt : pg::SqlValue(TextArrayLiteral(keys));
}

void
NoticeInterrupted(const Migration &migration) {
    const std::string done =
        pg::Query("SELECT pg_catalog.count(*) FROM livemigrate.comparison_range WHERE "
                  "migration = $1::int AND NOT ended AND equal",
                  {std::to_string(migration.id)})
            .Scalar()
            .value_or("0");
    if (done != "0") {
        Notice("a comparison that was interrupted had found " + done +
                   " tables or ranges equal, which are compared anew",
               "SELECT * FROM livemigrate.compare_data(" + QuoteLiteral(migration.settings.name) +
                   ", resume => true);");
    }
}

// What the comparison has cost: changes that came meanwhile are applied later by as much.
void
TellHold(const Migration &migration, const std::vector<control::TableComparison> &results) {
    if (results.empty() || results[0].held_seconds == 0) {
        return;
    }
    const std::string text = "apply was held for " + FormatSeconds(results[0].held_seconds) +
                             " for the comparison at " + results[0].lsn.ToString();
    Notice(text);
    if (!XactReadOnly) {
        control::RecordEvent(migration.id, "info", migration.stage, text);
    }
}

Datum
CompareDataRows(FunctionCallInfo fcinfo) {
    control::ComparisonSettings settings;
    settings.resume = RequiredBool(fcinfo, 2, "resume");
    const Migration migration = FindNamed(TextArgument(fcinfo, 0));
    CheckHasTables(migration);
    const std::vector<stage::ComparedTable> tables =
        TablesToCompare(migration, TextArrayArgument(fcinfo, 1));
    if (!settings.resume) {
        NoticeInterrupted(migration);
    }
    std::vector<std::vector<pg::SqlValue>> rows;
    std::vector<std::vector<std::string>> kept;
    const std::vector<control::TableComparison> results =
        control::Compare(migration, tables, settings);
    TellHold(migration, results);
    for (const control::TableComparison &result : results) {
        if (!result.detail.empty()) {
            Notice(result.relation + ": " + result.detail);
        }
        auto count = [](int64_t number) {
            return number < 0 ? std::nullopt : pg::SqlValue(std::to_string(number));
        };
        rows.push_back({result.relation, count(result.source_rows), count(result.target_rows),
                        TextOrNull(result.source_checksum), TextOrNull(result.target_checksum),
                        pg::BoolText(result.equal)});
        rows.back().push_back(DifferingKeys(result));
        rows.back().push_back(TextOrNull(result.detail));
        rows.back().push_back(result.lsn.valid() ? pg::SqlValue(result.lsn.ToString())
                                                 : std::nullopt);
        std::vector<std::string> &texts = kept.emplace_back();
        for (const pg::SqlValue &value : rows.back()) {
            texts.push_back(value.value_or(""));
        }
    }
    if (!XactReadOnly) {
        control::KeepComparisons(migration.id, kept);
    }
    return ReturnRows(fcinfo, rows);
}

Datum
CompareRows(FunctionCallInfo fcinfo) {
    constexpr int kMostRows = 10'000;
    const int max_rows = RequiredInt(fcinfo, 2, "max_rows");
    if (max_rows < 1 || max_rows > kMostRows) {
        throw Error(sqlstate::kInvalidParameterValue,
                    "max_rows must be between 1 and " + std::to_string(kMostRows));
    }
    const Migration migration = FindNamed(TextArgument(fcinfo, 0));
    CheckHasTables(migration);
    const std::vector<stage::ComparedTable> tables =
        TablesToCompare(migration, TextArrayArgument(fcinfo, 1));
    std::vector<std::vector<pg::SqlValue>> rows;
    for (const control::TableComparison &result : control::Compare(
             migration, tables, {.max_rows = static_cast<size_t>(max_rows), .resume = false})) {
        if (!result.detail.empty()) {
            Notice(result.relation + ": " + result.detail);
        }
        for (const stage::DifferingRow &row : result.rows) {
            const char *difference = !row.on_target   ? "only on the source"
                                     : !row.on_source ? "only on the target"
                                                      : "differs";
            rows.push_back({result.relation, row.key, std::string(difference)});
        }
    }
    return ReturnRows(fcinfo, rows);
}

Datum
CompareSchemaRows(FunctionCallInfo fcinfo) {
    const Migration migration = FindNamed(TextArgument(fcinfo, 0));
    CheckHasTables(migration);
    const TableFilter filter = control::FilterOf(migration.settings);
    std::vector<std::vector<pg::SqlValue>> rows;
    std::vector<std::vector<std::string>> kept;
    const auto selects = [&](const std::string &schema, const std::string &name) {
        return filter.Selects(schema, name);
    };
    const stage::SchemaExtent extent{migration.settings.owner, migration.settings.privileges};
    source::Connection source =
        source::Connection::Open(migration.settings.source, source::ConnectionKind::kSql);
    source::CheckSameServer(
        source, migration.source_system_identifier,
        control::NamedHint(migration.id, "SELECT * FROM livemigrate.compare_schema();"));
    for (const stage::SchemaDifference &difference :
         stage::CompareSchema(source, selects, extent)) {
        rows.push_back(
            {difference.object, TextOrNull(difference.source), TextOrNull(difference.target)});
        kept.push_back({difference.object, difference.source, difference.target});
    }
    if (!XactReadOnly) {
        control::KeepSchemaComparison(migration.id, kept);
    }
    return ReturnRows(fcinfo, rows);
}

} // namespace

} // namespace livemigrate::api

LIVEMIGRATE_FUNCTION(livemigrate_compare_data, CompareDataRows)
LIVEMIGRATE_FUNCTION(livemigrate_compare_rows, CompareRows)
LIVEMIGRATE_FUNCTION(livemigrate_compare_schema, CompareSchemaRows)
