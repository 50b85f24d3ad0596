#include "pg/prelude.hpp"

#include "control/apply_dealing.hpp"

#include "core/sql_text.hpp"
#include "pg/partition_routing.hpp"
#include "pg/spi.hpp"
#include "pg/sql_row.hpp"
#include "pg/table_manager.hpp"

namespace livemigrate::control {

namespace {

using pg::SqlResult;
using pg::SqlRow;

// But for those on our own tables, which apply writes for itself.
constexpr char kFiringQuery[] =
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger t "
    "  JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid "
    "  WHERE t.tgenabled IN ('A', 'R') "
    "    AND c.relnamespace <> 'livemigrate'::pg_catalog.regnamespace) OR "
    "EXISTS (SELECT FROM pg_catalog.pg_rewrite WHERE ev_enabled IN ('A', 'R'))";

// The tables, with the target's OID and, where it is safe to deal by it, the replica identity's
// key. Types are those whose text tells whether values are equal: not numeric (1.0, 1.00), floats
// (0, -0), char(n) and citext, nor text with a nondeterministic collation.
constexpr char kTablesQuery[] =
    "SELECT t.schema_name, t.table_name, c.oid, k.names, COALESCE(p.through_root, false) AS routed "
    "FROM livemigrate.table_copy t "
    "LEFT JOIN livemigrate.table_partition p ON p.migration = t.migration AND p.table_id = t.id "
    "LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema_name "
    "LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.table_name "
    "LEFT JOIN LATERAL (SELECT pg_catalog.array_agg(a.attname ORDER BY a.attnum)::text[] AS names "
    "  FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid "
    "    AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]) "
    "  JOIN pg_catalog.pg_type y ON y.oid = a.atttypid "
    "  LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation "
    "  WHERE i.indrelid = c.oid AND i.indimmediate AND i.indisvalid "
    "    AND CASE t.replica_identity WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident "
    "        ELSE false END "
    "    AND c.relkind = 'r' AND t.relkind = 'r' AND t.identity_usable "
    "    AND NOT EXISTS (SELECT FROM pg_catalog.pg_index o WHERE o.indrelid = c.oid "
    "      AND o.indexrelid <> i.indexrelid AND (o.indisunique OR o.indisexclusion)) "
    "  HAVING pg_catalog.bool_and((y.typtype = 'e' OR CASE y.typtype WHEN 'd' THEN y.typbasetype "
    "    ELSE y.oid END = ANY (ARRAY['bool', 'int2', 'int4', 'int8', 'oid', 'uuid', 'text', "
    "    'varchar', 'name', 'bytea', 'date', 'timestamp', 'timestamptz']::regtype[]::oid[])) "
    "    AND COALESCE(l.collisdeterministic, true))) k ON true "
    "WHERE t.migration = $1::int";

} // namespace

Dealings
LoadDealings(int32_t migration) {
    const SqlResult tables =
        pg::Query("SELECT schema_name, table_name, dealing, e.name FROM livemigrate.table_copy t "
                  "LEFT JOIN LATERAL "
                  "pg_catalog.unnest(t.dealing_key) WITH ORDINALITY AS e(name, n) ON true "
                  "WHERE migration = $1::int AND dealing IS NOT NULL ORDER BY id, n",
                  {std::to_string(migration)});
    Dealings dealings;
    for (const SqlRow &row : tables.rows) {
        TableDealing &one = dealings[{pg::Text(row, 0), pg::Text(row, 1)}];
        one.dealing = ParseDealing(pg::Text(row, 2));
        if (row[3]) {
            one.key.push_back(*row[3]);
        }
    }
    return dealings;
}

Dealings
DecideDealings(int32_t migration) {
    const bool fires = pg::Query(kFiringQuery).Scalar() == "t";
    const SqlResult tables =
        pg::Query("SELECT q.schema_name, q.table_name, q.oid, e.name, q.routed FROM (" +
                      std::string(kTablesQuery) +
                      ") q LEFT JOIN LATERAL pg_catalog.unnest(q.names) WITH ORDINALITY "
                      "AS e(name, n) ON true ORDER BY 1, 2, e.n",
                  {std::to_string(migration)});
    Dealings dealings;
    for (const SqlRow &row : tables.rows) {
        TableDealing &one = dealings[{pg::Text(row, 0), pg::Text(row, 1)}];
        const auto relid = pg::Number<Oid>(row, 2); // 0 for one that is not there
        if (fires || !OidIsValid(relid) || pg::Flag(row, 4) ||
            pg::RoutingRelation(relid) != relid) {
            continue; // the first worker's
        }
        const bool by_key = row[3] && pg::ManagerOf(relid) == pg::TableManager::kNone;
        one.dealing = by_key ? Dealing::kKey : Dealing::kTable;
        if (by_key) {
            one.key.push_back(*row[3]);
        }
    }
    return dealings;
}

void
StoreDealings(int32_t migration, const Dealings &dealings) {
    pg::Query("UPDATE livemigrate.table_copy SET dealing = 'first', dealing_key = NULL "
              "WHERE migration = $1::int",
              {std::to_string(migration)});
    for (const auto &[name, one] : dealings) {
        pg::Query("UPDATE livemigrate.table_copy SET dealing = $4, dealing_key = $5::name[] "
                  "WHERE migration = $1::int AND schema_name = $2::name AND table_name = $3::name",
                  {std::to_string(migration), name.first, name.second,
                   std::string(DealingName(one.dealing)),
                   one.key.empty() ? std::nullopt : pg::SqlValue(TextArrayLiteral(one.key))});
    }
}

} // namespace livemigrate::control
