#include "pg/table_manager.hpp"

#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/spi.hpp"

extern "C" {
#include "commands/extension.h"
}

namespace livemigrate::pg {

namespace {

bool
HasExtension(const char *name) {
    return Call([name] { return OidIsValid(get_extension_oid(name, true)); });
}

Oid
FindTable(const std::string &schema, const std::string &table) {
    return Call([&]() -> Oid {
        const Oid oid = get_namespace_oid(schema.c_str(), true);
        return OidIsValid(oid) ? get_relname_relid(table.c_str(), oid) : InvalidOid;
    });
}

} // namespace

TableManager
ManagerOf(Oid relid) {
    const std::string relation = std::to_string(relid);
    if (HasExtension("timescaledb") &&
        Query("SELECT EXISTS (SELECT FROM _timescaledb_catalog.hypertable h "
              "JOIN pg_catalog.pg_namespace n ON n.nspname = h.schema_name "
              "JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND "
              "c.relname = h.table_name WHERE c.oid = $1::oid)",
              {relation})
                .Scalar() == "t") {
        return TableManager::kTimescaledb;
    }
    if (HasExtension("citus") && Query("SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_partition "
                                       "WHERE logicalrelid = $1::oid)",
                                       {relation})
                                         .Scalar() == "t") {
        return TableManager::kCitus;
    }
    return TableManager::kNone;
}

TableManager
ManagerOf(const std::string &schema, const std::string &table) {
    const Oid relid = FindTable(schema, table);
    return OidIsValid(relid) ? ManagerOf(relid) : TableManager::kNone;
}

bool
IsOneHeap(Oid relid) {
    const bool is_partitioned =
        Call([relid] { return get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE; });
    return !is_partitioned && ManagerOf(relid) == TableManager::kNone;
}

bool
IsOneHeap(const std::string &schema, const std::string &table) {
    const Oid relid = FindTable(schema, table);
    return !OidIsValid(relid) || IsOneHeap(relid);
}

std::vector<std::string>
PlacementColumns(Oid relid, TableManager manager) {
    SqlResult found;
    switch (manager) {
    case TableManager::kTimescaledb:
        found = Query("SELECT d.column_name FROM _timescaledb_catalog.dimension d "
                      "JOIN _timescaledb_catalog.hypertable h ON h.id = d.hypertable_id "
                      "JOIN pg_catalog.pg_namespace n ON n.nspname = h.schema_name "
                      "JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND "
                      "c.relname = h.table_name WHERE c.oid = $1::oid ORDER BY d.id",
                      {std::to_string(relid)});
        break;
    case TableManager::kCitus:
        found = Query("SELECT pg_catalog.column_to_column_name(logicalrelid, partkey) "
                      "FROM pg_catalog.pg_dist_partition "
                      "WHERE logicalrelid = $1::oid AND partkey IS NOT NULL",
                      {std::to_string(relid)});
        break;
    case TableManager::kNone:
        break;
    }
    std::vector<std::string> columns;
    for (const auto &row : found.rows) {
        columns.push_back(row.at(0).value());
    }
    return columns;
}

std::vector<std::string>
PlacementColumns(const std::string &schema, const std::string &table, TableManager manager) {
    return PlacementColumns(FindTable(schema, table), manager);
}

std::string
NameToTruncate(const std::string &schema, const std::string &table) {
    return (IsOneHeap(schema, table) ? "ONLY " : "") + QualifiedName(schema, table);
}

} // namespace livemigrate::pg
