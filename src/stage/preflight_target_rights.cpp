// What the caller must be allowed on the target: to write, to make the schema, roles, and objects
// of other owners.
#include "pg/prelude.hpp"

#include "stage/preflight_run.hpp"

#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/sql_row.hpp"
#include "stage/missing_roles.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace livemigrate::stage {

namespace {

constexpr size_t kNamesInMessage = 5;

// Schemas of the source with something that stage schema makes in them, besides tables; and who
// owns it. An extension's own objects come with it.
constexpr char kOwners[] = R"sql(
WITH user_schema AS (
    SELECT oid, nspname, nspowner FROM pg_catalog.pg_namespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
object AS (
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass AS classid, oid, relnamespace AS schema,
           relowner AS owner
    FROM pg_catalog.pg_class WHERE relkind IN ('v', 'm', 'c')
    UNION ALL
    SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, oid, pronamespace, proowner
    FROM pg_catalog.pg_proc
    UNION ALL
    SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, oid, typnamespace, typowner
    FROM pg_catalog.pg_type WHERE typtype IN ('d', 'e', 'r'))
SELECT n.nspname, pg_catalog.pg_get_userbyid(o.owner)
FROM object o
JOIN user_schema n ON n.oid = o.schema
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = o.classid AND d.objid = o.oid AND d.deptype = 'e')
UNION
SELECT '', pg_catalog.pg_get_userbyid(nspowner) FROM user_schema WHERE nspname <> 'public'
)sql";

// By schema, who owns something in it; of schemas themselves under an empty name.
using OwnersBySchema = std::map<std::string, std::set<std::string>>;

OwnersBySchema
ListOwners(PreflightRun &run) {
    OwnersBySchema owners;
    for (const source::SourceTable &table : run.result.tables) {
        owners[table.schema].insert(table.owner);
    }
    for (const pg::SqlRow &row : run.source.Query(kOwners).rows) {
        owners[pg::Text(row, 0)].insert(pg::Text(row, 1));
    }
    return owners;
}

// What the caller lacks, and the SQL that gives it.
class Lacks {
  public:
    void
    Add(const std::string &what, const std::string &fix) {
        what_ += (what_.empty() ? "" : " and ") + what;
        fix_ += (fix_.empty() ? "" : "\n") + fix;
    }

    // A comment.
    void
    AddChoice(const std::string &choice) {
        choices_.push_back(choice);
    }

    const std::string &
    what() const {
        return what_;
    }

    std::string
    Fix() const {
        return Choices(fix_, choices_);
    }

  private:
    std::string what_;
    std::string fix_;
    std::vector<std::string> choices_;
};

struct Caller {
    std::string role; // quoted
    bool is_superuser = false;
};

// Whether the caller may turn triggers and foreign keys off while applying changes.
bool
MaySetReplicationRole() {
    return pg::HasParameterPrivileges() &&
           pg::Query("SELECT pg_catalog.has_parameter_privilege('session_replication_role',"
                     " 'SET')")
                   .Scalar() == "t";
}

void
CheckWriting(const Caller &caller, Lacks &lacks) {
    if (!MaySetReplicationRole()) {
        lacks.Add("may not set session_replication_role",
                  pg::HasParameterPrivileges()
                      ? "GRANT SET ON PARAMETER session_replication_role TO " + caller.role + ";"
                      : "ALTER ROLE " + caller.role + " SUPERUSER;");
    }
    const pg::SqlRow database =
        pg::Query("SELECT pg_catalog.current_database(),"
                  " pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')")
            .rows.at(0);
    if (!pg::Flag(database, 1)) {
        lacks.Add("may not create schemas", "GRANT CREATE ON DATABASE " +
                                                QuoteIdentifier(pg::Text(database, 0)) + " TO " +
                                                caller.role + ";");
    }
}

// A schema that is there already stays its owner's.
void
CheckSchemas(const OwnersBySchema &owners, const Caller &caller, Lacks &lacks) {
    std::vector<std::string> schemas;
    for (const auto &[schema, ignored] : owners) {
        schemas.push_back(schema);
    }
    const pg::SqlResult found =
        pg::Query("SELECT n.nspname FROM pg_catalog.pg_namespace n"
                  " WHERE n.nspname::text = ANY ($1::text[])"
                  "   AND NOT pg_catalog.has_schema_privilege(n.oid, 'CREATE') ORDER BY 1",
                  {TextArrayLiteral(schemas)});
    std::vector<std::string> names;
    for (const pg::SqlRow &row : found.rows) {
        names.push_back(QuoteIdentifier(pg::Text(row, 0)));
    }
    if (!names.empty()) {
        lacks.Add("may not create in schema " + ListNames(names, kNamesInMessage),
                  "GRANT CREATE ON SCHEMA " + ListNames(names, names.size()) + " TO " +
                      caller.role + ";");
    }
}

void
CheckRoles(const std::vector<std::string> &missing, const Caller &caller, Lacks &lacks) {
    const bool may_create =
        pg::Query("SELECT rolcreaterole FROM pg_catalog.pg_roles WHERE rolname = current_user")
            .Scalar() == "t";
    if (!missing.empty() && !may_create) {
        std::vector<std::string> names;
        for (const std::string &name : missing) {
            names.push_back(QuoteIdentifier(name));
        }
        lacks.Add("may not create the roles that the target lacks, " +
                      ListNames(names, kNamesInMessage),
                  "ALTER ROLE " + caller.role + " CREATEROLE;");
        lacks.AddChoice("roles => false, which leaves them out");
    }
}

std::string
CreateRole(const std::string &role) {
    return "CREATE ROLE " + role + "; -- with what it has on the source, LOGIN for example";
}

// To give an object away takes membership, and the new owner must be allowed to have it there. The
// migration does not become a member of the roles that it creates.
void
CheckOwners(const OwnersBySchema &owners, const Caller &caller, Lacks &lacks) {
    const std::string privilege = pg::BecomingPrivilege();
    std::set<std::string> strangers;
    std::vector<std::string> names;
    std::string fix;
    const auto grant = [&](const std::string &what, const std::string &role) {
        fix += (fix.empty() ? "" : "\n") + std::string("GRANT ") + what + " TO " + role + ";";
    };
    for (const auto &[schema, roles] : owners) {
        const pg::SqlResult found = pg::Query(
            "SELECT w.name, r.oid IS NOT NULL, pg_catalog.pg_has_role(r.oid, $3),"
            "  n.oid IS NULL OR pg_catalog.has_schema_privilege(COALESCE(r.rolname, 'public'),"
            "                                                   n.oid, 'CREATE')"
            " FROM pg_catalog.unnest($1::text[]) AS w(name)"
            " LEFT JOIN pg_catalog.pg_roles r ON r.rolname = w.name::name"
            " LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = $2::name"
            " ORDER BY 1",
            {TextArrayLiteral({roles.begin(), roles.end()}), schema, privilege});
        for (const pg::SqlRow &row : found.rows) {
            const std::string owner = QuoteIdentifier(pg::Text(row, 0));
            if (!pg::Flag(row, 2) && strangers.insert(owner).second) {
                names.push_back(owner);
                fix += pg::Flag(row, 1) ? "" : (fix.empty() ? "" : "\n") + CreateRole(owner);
                grant(owner, caller.role);
            }
            if (!pg::Flag(row, 3)) {
                names.push_back(owner + " in schema " + QuoteIdentifier(schema));
                grant("CREATE ON SCHEMA " + QuoteIdentifier(schema), owner);
            }
        }
    }
    if (!names.empty()) {
        lacks.Add("may not make objects those of their owners, " +
                      ListNames(names, kNamesInMessage),
                  fix);
        lacks.AddChoice("owner => false, which makes everything the caller's");
    }
}

// Roles that own something and that nobody creates.
void
CheckMissingOwners(PreflightRun &run, const OwnersBySchema &owners,
                   const std::vector<std::string> &created) {
    std::set<std::string> all;
    for (const auto &[schema, roles] : owners) {
        all.insert(roles.begin(), roles.end());
    }
    const pg::SqlResult found =
        pg::Query("SELECT w.name FROM pg_catalog.unnest($1::text[]) AS w(name)"
                  " WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles r"
                  "                   WHERE r.rolname = w.name::name) ORDER BY 1",
                  {TextArrayLiteral({all.begin(), all.end()})});
    for (const pg::SqlRow &row : found.rows) {
        const std::string name = pg::Text(row, 0);
        if (std::find(created.begin(), created.end(), name) != created.end()) {
            continue;
        }
        const std::string owner = QuoteIdentifier(name);
        run.Fail(
            "target_rights", sqlstate::kUndefinedObject, owner,
            "role " + owner +
                ", which owns objects of the source, does not exist on the "
                "target",
            Choices(CreateRole(owner), {"owner => false, which makes everything the caller's"}));
    }
}

} // namespace

void
CheckTargetRights(PreflightRun &run) {
    Caller caller;
    caller.role = QuoteIdentifier(pg::Query("SELECT current_user").Scalar().value());
    caller.is_superuser = pg::Call([] { return superuser(); });
    const std::vector<std::string> missing =
        run.settings.roles ? ListMissingRoles(run.source) : std::vector<std::string>();
    const OwnersBySchema owners = run.CreatesSchema() ? ListOwners(run) : OwnersBySchema();
    Lacks lacks;
    if (!caller.is_superuser) {
        CheckWriting(caller, lacks);
        CheckSchemas(owners, caller, lacks);
        CheckRoles(missing, caller, lacks);
        if (run.settings.owner) {
            CheckOwners(owners, caller, lacks);
        }
    } else if (run.settings.owner) {
        CheckMissingOwners(run, owners, missing);
    }
    if (!lacks.what().empty()) {
        run.Fail("target_rights", sqlstate::kInsufficientPrivilege, caller.role,
                 "role " + caller.role + " of the target " + lacks.what(), lacks.Fix());
    } else if (!run.Failed("target_rights")) {
        run.Ok("target_rights", caller.role, "may write what the migration writes");
    }
}

} // namespace livemigrate::stage
