#include "pg/prelude.hpp"

#include "source/replica_identity.hpp"

#include "pg/sql_row.hpp"

namespace livemigrate::source {

// Usable as RelationGetIndexList() sees it: valid, immediate, chosen. What pgoutput wants besides
// is in ListTables().
std::vector<TableWithoutIdentity>
ListTablesWithoutIdentity(Connection &source, const WaitObserver &observer) {
    std::vector<TableWithoutIdentity> tables;
    const pg::SqlResult result =
        source.Query("SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class c "
                     "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
                     "WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.relreplident <> 'f' "
                     "AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' "
                     "AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i "
                     "WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate "
                     "AND CASE c.relreplident WHEN 'd' THEN i.indisprimary "
                     "WHEN 'i' THEN i.indisreplident ELSE false END) "
                     "AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d "
                     "WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass "
                     "AND d.objid = c.oid AND d.deptype = 'e') ORDER BY n.nspname, c.relname",
                     observer);
    for (const pg::SqlRow &row : result.rows) {
        tables.push_back({pg::Number<uint32_t>(row, 0), pg::Text(row, 1), pg::Text(row, 2)});
    }
    return tables;
}

} // namespace livemigrate::source
