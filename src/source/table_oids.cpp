#include "pg/prelude.hpp"

#include "source/table_oids.hpp"

#include "pg/sql_row.hpp"

namespace livemigrate::source {

TableOids
ListTableOids(Connection &source, const WaitObserver &observer) {
    TableOids oids;
    const pg::SqlResult result =
        source.Query("SELECT n.nspname, c.relname, c.oid FROM pg_catalog.pg_class c "
                     "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
                     "WHERE c.relkind = 'r' AND c.relpersistence <> 't' "
                     "AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'",
                     observer);
    for (const pg::SqlRow &row : result.rows) {
        oids[{pg::Text(row, 0), pg::Text(row, 1)}] = pg::Number<uint32_t>(row, 2);
    }
    return oids;
}

} // namespace livemigrate::source
