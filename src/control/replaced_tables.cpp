#include "pg/prelude.hpp"

#include "control/replaced_tables.hpp"

#include "control/catalog.hpp"
#include "core/sql_text.hpp"
#include "pg/spi.hpp"

#include <algorithm>

namespace livemigrate::control {

namespace {

constexpr size_t kMostTables = 20;

std::string
NameOf(const CopyTable &table) {
    return QualifiedName(table.schema, table.name);
}

// The rows of a partition may lie in the root.
std::string
RemovalSql(const CopyTable &table) {
    if (!table.through_root()) {
        return "DROP TABLE " + NameOf(table) + ";";
    }
    return "DELETE FROM " + QualifiedName(table.target_schema, table.target_name) + " WHERE " +
           (table.partition_condition.empty() ? "(its rows)" : table.partition_condition) + ";";
}

} // namespace

std::vector<CopyTable>
FindReplacedTables(const std::vector<CopyTable> &tables, const source::TableOids &now) {
    std::vector<CopyTable> replaced;
    std::copy_if(
        tables.begin(), tables.end(), std::back_inserter(replaced), [&](const CopyTable &table) {
            const auto found = now.find({table.schema, table.name});
            return table.copy_data && !table.replaced && table.relkind == 'r' &&
                   !table.through_root() && found != now.end() && found->second != table.source_oid;
        });
    return replaced;
}

void
LeaveReplacedTableOut(int32_t migration, const CopyTable &table) {
    pg::Query("UPDATE livemigrate.table_copy SET replaced = true "
              "WHERE migration = $1::int AND id = $2::int",
              {std::to_string(migration), std::to_string(table.id)});
    RecordEvent(migration, "warning", Stage::kStreaming,
                "table " + NameOf(table) +
                    " is not followed any more: it was replaced on the source",
                "The target keeps the rows that it has.");
}

Error
TablesReplaced(const std::vector<CopyTable> &tables) {
    std::string names;
    std::string emptying;
    for (size_t i = 0; i < tables.size() && i < kMostTables; i++) {
        names += (i == 0 ? "" : ", ") + NameOf(tables[i]);
        emptying += "-- TRUNCATE " + NameOf(tables[i]) + ";\n";
    }
    names += tables.size() > kMostTables ? " and others" : "";
    const bool is_one = tables.size() == 1;
    return Error(sqlstate::kObjectNotInPrerequisiteState,
                 is_one ? "table " + names + " was replaced on the source"
                        : std::to_string(tables.size()) + " tables were replaced on the source")
        .Detail((is_one ? std::string("Another table has its name now")
                        : "Other tables have the names of " + names + " now") +
                ". The target has the rows of what was copied, and the change stream does not have "
                "all rows of what is there now.")
        .Hint("-- goes on without following " + std::string(is_one ? "it" : "them") +
              ":\nSELECT livemigrate.migration_resume();\n"
              "-- and after the cutover, before the target is used, copied by hand (pg_dump "
              "--data-only --table) into what is emptied first:\n" +
              emptying + "-- or begin anew:\n-- SELECT livemigrate.migration_abort();");
}

void
WarnOfLostTables(const std::vector<CopyTable> &tables, const source::TableOids &now,
                 std::vector<std::string> &warnings) {
    for (const CopyTable &table : tables) {
        if (!table.copy_data || table.relkind != 'r' || table.state == "skipped") {
            continue;
        }
        const std::string name = NameOf(table);
        if (table.replaced) {
            warnings.push_back("table " + name +
                               " was replaced on the source and has not been followed since; to "
                               "bring its rows over, run on the target: TRUNCATE " +
                               name + "; and copy them with pg_dump --data-only --table");
        } else if (!now.contains({table.schema, table.name})) {
            warnings.push_back(
                "table " + name +
                " is not on the source any more; if it was dropped there, run on the "
                "target: " +
                RemovalSql(table));
        }
    }
}

} // namespace livemigrate::control
