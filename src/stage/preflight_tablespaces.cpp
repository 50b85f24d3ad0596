// What the source keeps in tablespaces, and whether the target has these.
#include "pg/prelude.hpp"

#include "stage/preflight_run.hpp"

#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

#include <map>

namespace livemigrate::stage {

namespace {

// Tables and what hangs on them; an index counts with its table.
constexpr char kUsedQuery[] = R"sql(
SELECT s.spcname, pg_catalog.pg_tablespace_location(s.oid), n.nspname, t.relname
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_tablespace s ON s.oid = c.reltablespace
LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
JOIN pg_catalog.pg_class t ON t.oid = COALESCE(i.indrelid, c.oid)
JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'i', 'I') AND n.nspname !~ '^pg_'
  AND n.nspname <> 'information_schema' AND s.spcname !~ '^pg_'
ORDER BY s.spcname
)sql";

std::string
CreateTablespace(const std::string &name, const std::string &location) {
    return "CREATE TABLESPACE " + QuoteIdentifier(name) + " LOCATION " +
           QuoteLiteral(location.starts_with("/") ? location : "/path/to/directory") +
           "; -- an empty directory of the target's machine, owned by the server's user";
}

void
CheckTarget(PreflightRun &run, const std::string &name, const std::string &location) {
    const pg::SqlResult found =
        pg::Query("SELECT pg_catalog.has_tablespace_privilege(oid, 'CREATE') "
                  "OR oid = (SELECT dattablespace FROM pg_catalog.pg_database "
                  "WHERE datname = pg_catalog.current_database()) "
                  "FROM pg_catalog.pg_tablespace WHERE spcname = $1::name",
                  {name});
    if (found.rows.empty()) {
        run.Fail("tablespaces", sqlstate::kUndefinedObject, name,
                 "tablespace " + QuoteIdentifier(name) +
                     " of the source does not exist on the target",
                 CreateTablespace(name, location));
    } else if (!pg::Flag(found.rows[0], 0)) {
        run.Fail("tablespaces", sqlstate::kInsufficientPrivilege, name,
                 "permission denied to create in tablespace " + QuoteIdentifier(name) +
                     " of the target",
                 "GRANT CREATE ON TABLESPACE " + QuoteIdentifier(name) + " TO CURRENT_USER;");
    }
}

} // namespace

void
CheckTablespaces(PreflightRun &run) {
    if (!run.CreatesSchema()) {
        return; // the tables are there
    }
    std::map<std::string, std::string> used;
    for (const pg::SqlRow &row : run.source.Query(kUsedQuery).rows) {
        if (run.filter.Selects(pg::Text(row, 2), pg::Text(row, 3))) {
            used.emplace(pg::Text(row, 0), pg::Text(row, 1));
        }
    }
    std::vector<std::string> names;
    for (const auto &[name, location] : used) {
        names.push_back(QuoteIdentifier(name));
        if (run.settings.tablespaces) {
            CheckTarget(run, name, location);
        }
    }
    if (run.settings.tablespaces && !run.Failed("tablespaces")) {
        run.Ok("tablespaces", "target", "the target has the source's tablespaces");
    } else if (!run.settings.tablespaces && !names.empty()) {
        run.Notice("tablespaces", "source",
                   "everything goes to the target's default tablespace, also what is in " +
                       ListNames(names) + " on the source",
                   Comment("to keep it: options => '{\"tablespaces\": true}'"));
    }
}

} // namespace livemigrate::stage
