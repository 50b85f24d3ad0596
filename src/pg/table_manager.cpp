#include "pg/table_manager.hpp"

#include "core/error.hpp"
#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/spi.hpp"
#include "pg/sql_row.hpp"

extern "C" {
#include "access/xact.h"
#include "commands/extension.h"
}

namespace livemigrate::pg {

namespace {

bool
HasExtension(const char *name) {
    return Call([name] { return OidIsValid(get_extension_oid(name, true)); });
}

bool
IsOneHeap(Oid relid, TableManager manager) {
    return manager == TableManager::kNone &&
           Call([relid] { return get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE; });
}

} // namespace

std::pair<std::string, std::string>
NameOf(Oid relid) {
    struct Names {
        const char *schema;
        const char *name;
    };
    const Names names = Call([relid]() -> Names {
        return {get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid)};
    });
    return {names.schema, names.name};
}

Oid
FindTable(const std::string &schema, const std::string &table) {
    return Call([&]() -> Oid {
        const Oid oid = get_namespace_oid(schema.c_str(), true);
        return OidIsValid(oid) ? get_relname_relid(table.c_str(), oid) : InvalidOid;
    });
}

Oid
TableOid(const std::string &schema, const std::string &table) {
    const Oid relid = FindTable(schema, table);
    if (!OidIsValid(relid)) {
        throw Error(sqlstate::kUndefinedTable,
                    "table " + QualifiedName(schema, table) + " does not exist on the target");
    }
    return relid;
}

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
    return IsOneHeap(relid, ManagerOf(relid));
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

// Citus sends a statement that concerns one shard as a transaction of its own, unless the server is
// in a transaction block or has written by COPY before. An INSERT ... SELECT that it cannot push
// down is such a COPY, and one of no rows opens no connection (CitusCopyDestReceiverStartup() of
// Citus's multi_copy.c). SET LOCAL reaches other nodes from within a block, which a DO is.
std::string
JoinNodesSql() {
    if (!HasExtension("citus")) {
        return "";
    }
    const SqlResult found =
        Query("SELECT n.nspname, c.relname, a.attname, "
              "pg_catalog.format_type(a.atttypid, a.atttypmod) "
              "FROM pg_catalog.pg_dist_partition d "
              "JOIN pg_catalog.pg_class c ON c.oid = d.logicalrelid "
              "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
              "JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 "
              "AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity <> 'a' "
              "WHERE EXISTS (SELECT FROM pg_catalog.pg_dist_shard s "
              "JOIN pg_catalog.pg_dist_placement p USING (shardid) "
              "WHERE s.logicalrelid = d.logicalrelid "
              "AND p.groupid <> (SELECT l.groupid FROM pg_catalog.pg_dist_local_group l)) "
              "ORDER BY a.attname <> COALESCE(pg_catalog.column_to_column_name(d.logicalrelid, "
              "d.partkey), '') LIMIT 1");
    if (found.rows.empty()) {
        return "";
    }
    const auto &row = found.rows.front();
    return "DO $join$BEGIN SET LOCAL citus.propagate_set_commands = 'local'; "
           "SET LOCAL session_replication_role = 'replica'; INSERT INTO " +
           QualifiedName(row.at(0).value(), row.at(1).value()) + " (" +
           QuoteIdentifier(row.at(2).value()) + ") SELECT NULL::" + row.at(3).value() +
           " FROM pg_catalog.pg_class LIMIT 0; END$join$";
}

bool
NodesAreJoined() {
    return JoinNodesSql().empty() ||
           Query("SELECT pg_catalog.current_setting('citus.propagate_set_commands')").Scalar() ==
               "local";
}

// That the query is planned makes TimescaleDB load the library that defines the parameters.
void
AdaptExtensions() {
    for (const auto &[parameter, value] :
         {std::pair("timescaledb.max_tuples_decompressed_per_dml_transaction", "0"),
          std::pair("timescaledb.skip_cagg_invalidation", "off"),
          std::pair("citus.multi_shard_modify_mode", "sequential")}) {
        Query("SELECT pg_catalog.set_config($1, $2, false) "
              "WHERE pg_catalog.current_setting($1, true) IS NOT NULL",
              {parameter, value});
    }
}

void
FlushCommitBeforeNodes() {
    if (HasExtension("citus")) {
        Call([] { ForceSyncCommit(); });
    }
}

} // namespace livemigrate::pg
