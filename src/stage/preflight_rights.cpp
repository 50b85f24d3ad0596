// Checks of what our role may read on the source.
#include "pg/prelude.hpp"

#include "stage/preflight_run.hpp"

#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

#include <map>

namespace livemigrate::stage {

namespace {

// What is missing in one schema.
struct MissingRights {
    bool usage = false;
    std::vector<std::string> tables;
    std::vector<std::string> sequences;
};

using MissingBySchema = std::map<std::string, MissingRights>;

// Schemas and sequences in one go. A sequence goes with the table that owns it (serial, identity),
// so that one is named too.
constexpr char kMissingRights[] = R"sql(
SELECT 'schema', n.nspname, '', '', ''
FROM pg_catalog.pg_namespace n
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE')
  AND EXISTS (SELECT FROM pg_catalog.pg_class c
              WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'S'))
UNION ALL
SELECT 'sequence', n.nspname, c.relname, COALESCE(tn.nspname, n.nspname),
       COALESCE(t.relname, c.relname)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_depend d
  ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
 AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i')
LEFT JOIN pg_catalog.pg_class t ON t.oid = d.refobjid
LEFT JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
WHERE c.relkind = 'S' AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT CASE WHEN c.relkind = 'S' THEN pg_catalog.has_sequence_privilege(c.oid, 'SELECT')
               ELSE true END
  AND (NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
                   WHERE e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                     AND e.objid = c.oid AND e.deptype = 'e')
       OR EXISTS (SELECT FROM pg_catalog.pg_extension x WHERE c.oid = ANY (x.extconfig)))
ORDER BY 1, 2, 3
)sql";

MissingBySchema
FindMissingRights(PreflightRun &run) {
    MissingBySchema missing;
    for (const source::SourceTable &table : run.result.tables) {
        if (!table.can_select) {
            missing[table.schema].tables.push_back(TableName(table));
        }
    }
    for (const pg::SqlRow &row : run.source.Query(kMissingRights).rows) {
        const std::string schema = pg::Text(row, 1);
        if (pg::Text(row, 0) == "schema") {
            missing[schema].usage = true;
        } else if (run.filter.Selects(pg::Text(row, 3), pg::Text(row, 4))) {
            missing[schema].sequences.push_back(QualifiedName(schema, pg::Text(row, 2)));
        }
    }
    return missing;
}

void
CheckSelect(PreflightRun &run) {
    const MissingBySchema missing = FindMissingRights(run);
    const std::string role = QuoteIdentifier(run.info().role);
    const std::string to_role = " TO " + role + ";";
    for (const auto &[schema, rights] : missing) {
        const std::string name = QuoteIdentifier(schema);
        std::vector<std::string> lacks;
        std::string fix;
        auto add = [&](const std::string &what, const std::string &grant) {
            lacks.push_back(what);
            fix += (fix.empty() ? "" : "\n") + grant + to_role;
        };
        if (rights.usage) {
            add("USAGE on it", "GRANT USAGE ON SCHEMA " + name);
        }
        if (!rights.tables.empty()) {
            add("SELECT on " + Count(rights.tables.size(), "table") + " (" +
                    ListNames(rights.tables, 3) + ")",
                "GRANT SELECT ON TABLE " + ListNames(rights.tables, rights.tables.size()));
        }
        if (!rights.sequences.empty()) {
            add("SELECT on " + Count(rights.sequences.size(), "sequence") + " (" +
                    ListNames(rights.sequences, 3) + ")",
                "GRANT SELECT ON SEQUENCE " + ListNames(rights.sequences, rights.sequences.size()));
        }
        run.Fail("select_rights", sqlstate::kInsufficientPrivilege, name,
                 "role " + role + " lacks rights in schema " + name +
                     " of the source: " + ListNames(lacks),
                 fix);
    }
    if (missing.empty()) {
        run.Ok("select_rights", role, "may read all selected tables and their sequences");
    }
}

// BYPASSRLS takes a superuser, which no provider gives. Owners are not filtered unless it is
// forced.
std::string
RowSecurityFix(PreflightRun &run, const source::SourceTable &table) {
    const std::string role = QuoteIdentifier(run.info().role);
    const std::string bypass = "ALTER ROLE " + role + " BYPASSRLS;";
    if (run.ways.provider.empty()) {
        return bypass;
    }
    const bool is_forced = run.source
                               .Query("SELECT relforcerowsecurity FROM pg_catalog.pg_class "
                                      "WHERE oid = " +
                                      std::to_string(table.oid))
                               .Scalar() == "t";
    return Choices("GRANT " + QuoteIdentifier(table.owner) + " TO " + role + ";" +
                       (is_forced
                            ? "\nALTER TABLE " + TableName(table) + " NO FORCE ROW LEVEL SECURITY;"
                            : ""),
                   {bypass + " where " + run.ways.provider + " lets its administrator do that"});
}

// Row security is off on our connections, so a filtered COPY is an error of the source's.
void
CheckRowSecurity(PreflightRun &run) {
    const std::string role = QuoteIdentifier(run.info().role);
    bool found = false;
    for (const source::SourceTable &table : run.result.tables) {
        if (table.row_security && run.HasData(table)) {
            found = true;
            run.Fail("row_security", sqlstate::kInsufficientPrivilege, TableName(table),
                     "row-level security hides rows of table " + TableName(table) + " from role " +
                         role,
                     RowSecurityFix(run, table));
        }
    }
    if (!found) {
        run.Ok("row_security", role, "sees all rows of the selected tables");
    }
}

void
CheckLargeObjectRights(PreflightRun &run) {
    if (run.info().is_superuser) {
        return;
    }
    const pg::SqlResult found = run.source.Query(
        "SELECT o.oid FROM pg_catalog.pg_largeobject_metadata o"
        " WHERE NOT pg_catalog.pg_has_role(o.lomowner, 'USAGE')"
        "   AND pg_catalog.current_setting('lo_compat_privileges') = 'off'"
        "   AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(o.lomacl) a"
        "                   WHERE a.privilege_type = 'SELECT'"
        "                     AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE')))"
        " ORDER BY o.oid LIMIT 10000");
    if (found.rows.empty()) {
        return;
    }
    std::vector<std::string> oids;
    for (const pg::SqlRow &row : found.rows) {
        oids.push_back(pg::Text(row, 0));
    }
    const std::string role = QuoteIdentifier(run.info().role);
    run.Fail("large_object_rights", sqlstate::kInsufficientPrivilege, role,
             "role " + role + " lacks SELECT on " + Count(oids.size(), "large object") +
                 " of the source: " + ListNames(oids),
             "GRANT SELECT ON LARGE OBJECT " + ListNames(oids, oids.size()) + " TO " + role + ";");
}

} // namespace

void
CheckRights(PreflightRun &run) {
    CheckSelect(run);
    CheckRowSecurity(run);
    CheckLargeObjectRights(run);
}

} // namespace livemigrate::stage
