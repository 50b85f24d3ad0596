#include "stage/large_object_rights.hpp"

#include "core/error.hpp"
#include "core/sql_text.hpp"
#include "pg/spi.hpp"
#include "pg/sql_row.hpp"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace livemigrate::stage {

namespace {

using pg::SqlRow;
using pg::Text;

// An item of an access control list, as aclexplode() gives it.
struct Grant {
    std::string grantor;
    std::string grantee; // quoted, or PUBLIC
    std::string privilege;
    bool with_option;
};

struct ObjectGrants {
    std::string owner;
    std::vector<Grant> grants;
};

// What the source says is data: it becomes part of a statement only as what it must be.
std::string
OidText(const SqlRow &row, size_t column) {
    return std::to_string(pg::Number<uint32_t>(row, column));
}

std::string
PrivilegeWord(const std::string &text) {
    if (text != "SELECT" && text != "UPDATE") {
        throw Error(sqlstate::kProtocolViolation,
                    "the source names an unknown privilege of a large object: " +
                        QuoteLiteral(text));
    }
    return text;
}

std::string
InRange(const char *column, uint32_t first_oid, uint32_t last_oid) {
    return std::string(column) + " >= " + std::to_string(first_oid) + " AND " + column +
           " <= " + std::to_string(last_oid);
}

void
Run(const std::string &sql) {
    try {
        pg::Execute(sql);
    } catch (const Error &error) {
        throw Error(error.sqlstate(), error.message())
            .Detail(error.detail())
            .Hint(error.sqlstate() == sqlstate::kUndefinedObject && error.hint().empty()
                      ? "Create the role on the target, then run: SELECT "
                        "livemigrate.migration_resume();"
                      : error.hint())
            .Context("statement: " + sql);
    }
}

void
CopyOwners(source::Connection &source, uint32_t first_oid, uint32_t last_oid) {
    const pg::SqlResult owners =
        source.Query("SELECT oid, pg_catalog.pg_get_userbyid(lomowner) FROM "
                     "pg_catalog.pg_largeobject_metadata WHERE " +
                     InRange("oid", first_oid, last_oid));
    const std::string self = pg::Query("SELECT CURRENT_USER").Scalar().value_or("");
    for (const SqlRow &row : owners.rows) {
        if (Text(row, 1) != self) {
            Run("ALTER LARGE OBJECT " + OidText(row, 0) + " OWNER TO " +
                QuoteIdentifier(Text(row, 1)));
        }
    }
}

// Only of objects that somebody has granted or revoked something on.
std::map<std::string, ObjectGrants>
ReadGrants(source::Connection &source, uint32_t first_oid, uint32_t last_oid) {
    const pg::SqlResult items =
        source.Query("SELECT m.oid, pg_catalog.pg_get_userbyid(m.lomowner), "
                     "pg_catalog.pg_get_userbyid(a.grantor), CASE WHEN a.grantee <> 0 THEN "
                     "pg_catalog.pg_get_userbyid(a.grantee) END, a.privilege_type, a.is_grantable "
                     "FROM pg_catalog.pg_largeobject_metadata m "
                     "LEFT JOIN LATERAL pg_catalog.aclexplode(m.lomacl) a ON true "
                     "WHERE m.lomacl IS NOT NULL AND " +
                     InRange("m.oid", first_oid, last_oid));
    std::map<std::string, ObjectGrants> objects;
    for (const SqlRow &row : items.rows) {
        ObjectGrants &object = objects[OidText(row, 0)];
        object.owner = Text(row, 1);
        if (row[4]) {
            object.grants.push_back({Text(row, 2), row[3] ? QuoteIdentifier(*row[3]) : "PUBLIC",
                                     PrivilegeWord(*row[4]), pg::Flag(row, 5)});
        }
    }
    return objects;
}

void
GrantAs(const std::string &role, const std::string &grant) {
    // The caller may be a session that has changed its role.
    const std::string before =
        pg::Query("SELECT pg_catalog.current_setting('role')").Scalar().value_or("none");
    Run("SET LOCAL ROLE " + QuoteIdentifier(role));
    Run(grant);
    Run("SET LOCAL ROLE " + (before == "none" ? before : QuoteIdentifier(before)));
}

// A privilege that was handed on is granted as who handed it on, once that role has it.
void
GrantAll(const std::string &object, const ObjectGrants &wanted) {
    std::vector<Grant> left = wanted.grants;
    std::set<std::string> able = {wanted.owner};
    for (bool progress = true; progress && !left.empty();) {
        std::vector<Grant> later;
        for (const Grant &grant : left) {
            if (!able.contains(grant.grantor)) {
                later.push_back(grant);
                continue;
            }
            const std::string sql = "GRANT " + grant.privilege + " ON LARGE OBJECT " + object +
                                    " TO " + grant.grantee +
                                    (grant.with_option ? " WITH GRANT OPTION" : "");
            if (grant.grantor == wanted.owner) {
                Run(sql);
            } else {
                GrantAs(grant.grantor, sql);
            }
        }
        // Only now: who got the right to hand one privilege on may hand the other on later.
        for (const Grant &grant : left) {
            for (const Grant &next : later) {
                if (grant.with_option && grant.grantee == QuoteIdentifier(next.grantor)) {
                    able.insert(next.grantor);
                }
            }
        }
        progress = later.size() < left.size();
        left = std::move(later);
    }
}

void
CopyPrivileges(source::Connection &source, uint32_t first_oid, uint32_t last_oid, bool owner) {
    for (const auto &[object, wanted] : ReadGrants(source, first_oid, last_oid)) {
        if (owner) {
            Run("REVOKE ALL ON LARGE OBJECT " + object + " FROM " + QuoteIdentifier(wanted.owner));
        }
        GrantAll(object, wanted);
    }
}

void
CopyLabels(source::Connection &source, uint32_t first_oid, uint32_t last_oid) {
    const pg::SqlResult labels =
        source.Query("SELECT objoid, provider, label FROM pg_catalog.pg_seclabel "
                     "WHERE classoid = 'pg_catalog.pg_largeobject'::pg_catalog.regclass AND " +
                     InRange("objoid", first_oid, last_oid));
    for (const SqlRow &row : labels.rows) {
        Run("SECURITY LABEL FOR " + QuoteIdentifier(Text(row, 1)) + " ON LARGE OBJECT " +
            OidText(row, 0) + " IS " + QuoteLiteral(Text(row, 2)));
    }
}

} // namespace

void
CopyLargeObjectRights(source::Connection &source, uint32_t first_oid, uint32_t last_oid,
                      LargeObjectRights rights) {
    if (rights.owner) {
        CopyOwners(source, first_oid, last_oid);
    }
    if (rights.privileges) {
        CopyPrivileges(source, first_oid, last_oid, rights.owner);
    }
    CopyLabels(source, first_oid, last_oid);
}

} // namespace livemigrate::stage
