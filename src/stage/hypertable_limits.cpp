#include "pg/prelude.hpp"

#include "stage/hypertable_limits.hpp"

#include "core/sql_text.hpp"
#include "core/version.hpp"
#include "pg/sql_row.hpp"

#include <string>

namespace livemigrate::stage {

namespace {

// From these versions on statement triggers may have transition tables, foreign keys of other
// tables may lead to a hypertable, and unlogged tables may be hypertables.
constexpr char kTransitionTables[] = "2.18.0";
constexpr char kForeignKeysTo[] = "2.16.0";
constexpr char kUnloggedTables[] = "2.23.0";

// A row for each limit: the table's OID, what of it (a table itself has no name), what is against
// it, and the fix, which is SQL for the source, or a comment. Hypertables are `h`, all tables `t`.

constexpr char kRules[] =
    "SELECT r.ev_class AS relation, 'rule' AS what, r.rulename::text AS name, "
    "' cannot be on a hypertable' AS against, "
    "pg_catalog.format('DROP RULE %I ON %s;', r.rulename, r.ev_class::pg_catalog.regclass) AS fix "
    "FROM pg_catalog.pg_rewrite r JOIN h ON h.oid = r.ev_class";

// From 2.27 on such are taken, but chunks that are made later fire them as if they were plainly
// enabled. One that fires in replica role, too, can do without; the others have no other form.
constexpr char kTriggers[] =
    "SELECT g.tgrelid, 'trigger', g.tgname, pg_catalog.concat(' cannot be on a hypertable: it ', "
    "CASE g.tgenabled WHEN 'D' THEN 'is disabled' WHEN 'A' THEN 'also fires in replica role' "
    "ELSE 'fires in replica role only' END), "
    "pg_catalog.format(CASE g.tgenabled WHEN 'A' THEN 'ALTER TABLE %2$s ENABLE TRIGGER %1$I;' "
    "ELSE 'DROP TRIGGER %I ON %s;' END, g.tgname, g.tgrelid::pg_catalog.regclass) "
    "FROM pg_catalog.pg_trigger g JOIN h ON h.oid = g.tgrelid "
    "WHERE g.tgenabled <> 'O' AND NOT g.tgisinternal";

std::string
TransitionTablesQuery(bool for_statements) {
    return "SELECT g.tgrelid, 'trigger', g.tgname, ' cannot be on a hypertable: it has a "
           "transition table" +
           std::string(for_statements ? " and is for each row" : "") +
           "', pg_catalog.format('DROP TRIGGER %I ON %s;', g.tgname, "
           "g.tgrelid::pg_catalog.regclass) "
           "FROM pg_catalog.pg_trigger g JOIN h ON h.oid = g.tgrelid "
           "WHERE COALESCE(g.tgoldtable, g.tgnewtable) IS NOT NULL AND g.tgenabled = 'O'" +
           (for_statements ? " AND g.tgtype & 1 = 1" : "");
}

// Those of a hypertable; and unless others may lead to one, of all tables.
std::string
ForeignKeysQuery(bool others_may) {
    const std::string from = others_may ? "h" : "t";
    return "SELECT f.conrelid, 'foreign key', f.conname, CASE WHEN f.conrelid IN "
           "(SELECT oid FROM h) THEN ' cannot be on a hypertable: it leads to another' "
           "ELSE ' cannot lead to a hypertable before TimescaleDB 2.16' END, "
           "pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I;', "
           "f.conrelid::pg_catalog.regclass, f.conname) FROM pg_catalog.pg_constraint f "
           "JOIN pg_catalog.pg_class c ON c.oid = f.conrelid JOIN h ON h.oid = f.confrelid "
           "WHERE f.contype = 'f' AND NOT c.relispartition AND c.oid IN (SELECT oid FROM " +
           from + ")";
}

// Those that are not valid come with the dump's post-data section.
std::string
ConstraintsQuery(bool are_made) {
    return "SELECT k.conrelid, 'constraint', k.conname, "
           "' cannot be on a hypertable: it is NO INHERIT', "
           "pg_catalog.format('ALTER TABLE %1$s DROP CONSTRAINT %2$I, ADD CONSTRAINT %2$I %3$s NOT "
           "VALID;%4$s', k.conrelid::pg_catalog.regclass, k.conname, "
           "pg_catalog.regexp_replace(pg_catalog.pg_get_constraintdef(k.oid), "
           "' NO INHERIT(?: NOT VALID)?( NOT ENFORCED)?$', '\\1'), CASE WHEN k.convalidated THEN "
           "pg_catalog.format("
           "' ALTER TABLE %s VALIDATE CONSTRAINT %I;', k.conrelid::pg_catalog.regclass, k.conname) "
           "END) FROM pg_catalog.pg_constraint k JOIN h ON h.oid = k.conrelid "
           "WHERE k.contype = 'c' AND k.connoinherit" +
           std::string(are_made ? " AND NOT k.convalidated" : "");
}

constexpr char kInheritance[] =
    "SELECT h.oid, 'table', NULL, ' cannot be a hypertable: it inherits or is inherited', "
    "'-- leave it out of option \"hypertables\": it stays as it is' FROM h "
    "WHERE EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE h.oid IN (i.inhrelid, i.inhparent))";

constexpr char kUnlogged[] =
    "SELECT h.oid, 'table', NULL, ' cannot be a hypertable: it is unlogged', "
    "pg_catalog.format('ALTER TABLE %s SET LOGGED;', h.oid::pg_catalog.regclass) "
    "FROM h JOIN pg_catalog.pg_class c ON c.oid = h.oid WHERE c.relpersistence = 'u'";

std::string
OidList(const char *name, const std::vector<uint32_t> &oids) {
    std::string list;
    for (const uint32_t oid : oids) {
        list += (list.empty() ? "" : ",") + std::to_string(oid);
    }
    return std::string(name) + " AS (SELECT pg_catalog.unnest('{" + list +
           "}'::pg_catalog.oid[]) AS oid)";
}

// Whether the target's TimescaleDB is that old.
bool
IsBefore(const char *version) {
    const auto installed =
        pg::Query("SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'timescaledb'")
            .Scalar();
    return installed && CompareVersions(*installed, version) < 0;
}

std::string
LimitsQuery(const HypertableSources &sources) {
    std::string limits = kRules;
    const auto add = [&limits](const std::string &query) { limits += " UNION ALL " + query; };
    add(kTriggers);
    add(TransitionTablesQuery(!IsBefore(kTransitionTables)));
    add(ForeignKeysQuery(!IsBefore(kForeignKeysTo)));
    add(ConstraintsQuery(sources.are_made));
    if (!sources.are_made) {
        add(kInheritance);
    }
    if (!sources.are_made && IsBefore(kUnloggedTables)) {
        add(kUnlogged);
    }
    return "WITH " + OidList("h", sources.hypertables) + ", " + OidList("t", sources.tables) +
           " SELECT n.nspname, c.relname, l.what, l.name, l.against, l.fix FROM (" + limits +
           ") AS l JOIN pg_catalog.pg_class c ON c.oid = l.relation "
           "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace ORDER BY 1, 2, 3, 4";
}

} // namespace

std::vector<TableProblem>
FindHypertableLimits(source::Connection &source, const HypertableSources &sources) {
    std::vector<TableProblem> problems;
    if (sources.hypertables.empty()) {
        return problems;
    }
    for (const pg::SqlRow &row : source.Query(LimitsQuery(sources)).rows) {
        const std::string table = QualifiedName(pg::Text(row, 0), pg::Text(row, 1));
        const std::string name = row[3] ? " " + QuoteIdentifier(*row[3]) + " of " : " ";
        const std::string fix = pg::Text(row, 5);
        problems.push_back({table, pg::Text(row, 2) + name + table + pg::Text(row, 4), fix,
                            !fix.starts_with("--")});
    }
    return problems;
}

} // namespace livemigrate::stage
