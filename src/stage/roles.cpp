// NOTES
//   Roles are shared by all databases of the target, so this is the one stage that reaches beyond
//   the migrated database. It therefore only adds: nothing that exists is changed, and what the
//   current user may not grant is left out and reported.
//
//   Memberships, settings and comments are each tried in a subtransaction: whether the target
//   takes them depends on its version, its extensions and the rights of the current user in ways
//   that only the server itself decides.
#include "stage/roles.hpp"

#include "core/error.hpp"
#include "core/retry_policy.hpp"
#include "core/sql_text.hpp"
#include "pg/spi.hpp"
#include "pg/sql_row.hpp"
#include "stage/missing_roles.hpp"
#include "stage/setting.hpp"

#include <optional>
#include <set>
#include <string_view>

namespace livemigrate::stage {

namespace {

constexpr int kMembershipOptionsVersion = 160000;

constexpr char kRolesQuery[] = R"(
SELECT r.rolname, r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin,
       r.rolreplication, r.rolbypassrls, r.rolconnlimit, r.rolvaliduntil::pg_catalog.text,
       pg_catalog.shobj_description(r.oid, 'pg_authid')
FROM pg_catalog.pg_roles r
WHERE r.rolname !~ '^pg_'
ORDER BY r.rolname
)";

constexpr char kSettingsQuery[] = R"(
SELECT r.rolname, s.setting
FROM pg_catalog.pg_roles r
CROSS JOIN LATERAL pg_catalog.unnest(r.rolconfig) WITH ORDINALITY AS s(setting, n)
ORDER BY r.rolname, s.n
)";

// One row for each pair, whatever the number of grantors.
constexpr char kMembershipsQuery[] = R"(
SELECT g.rolname, m.rolname, pg_catalog.bool_or(a.admin_option), m.rolinherit, true, m.rolinherit
FROM pg_catalog.pg_auth_members a
JOIN pg_catalog.pg_roles g ON g.oid = a.roleid
JOIN pg_catalog.pg_roles m ON m.oid = a.member
GROUP BY g.rolname, m.rolname, m.rolinherit
ORDER BY g.rolname, m.rolname
)";

constexpr char kMembershipsQuery16[] = R"(
SELECT g.rolname, m.rolname, pg_catalog.bool_or(a.admin_option),
       pg_catalog.bool_or(a.inherit_option), pg_catalog.bool_or(a.set_option), m.rolinherit
FROM pg_catalog.pg_auth_members a
JOIN pg_catalog.pg_roles g ON g.oid = a.roleid
JOIN pg_catalog.pg_roles m ON m.oid = a.member
GROUP BY g.rolname, m.rolname, m.rolinherit
ORDER BY g.rolname, m.rolname
)";

struct Role {
    std::string name;
    bool superuser = false;
    bool inherit = true;
    bool create_role = false;
    bool create_database = false;
    bool login = false;
    bool replication = false;
    bool bypass_rls = false;
    int connection_limit = -1;
    std::optional<std::string> valid_until;
    std::optional<std::string> comment;
};

// What the target's current user may give to a new role.
struct Rights {
    std::string user;
    bool membership_options = false; // GRANT ... WITH INHERIT, SET
    bool superuser = false;
    bool create_role = false;
    bool create_database = false;
    bool replication = false;
    bool bypass_rls = false;
};

bool
IsTrue(const pg::SqlValue &value) {
    return value && *value == "t";
}

// "a", "b": for notes.
void
AppendName(std::string &list, std::string_view name) {
    list += (list.empty() ? "" : ", ") + QuoteIdentifier(name);
}

std::vector<Role>
ReadRoles(source::Connection &source) {
    std::vector<Role> roles;
    for (const auto &row : source.Query(kRolesQuery).rows) {
        Role role;
        role.name = row.at(0).value();
        role.superuser = IsTrue(row.at(1));
        role.inherit = IsTrue(row.at(2));
        role.create_role = IsTrue(row.at(3));
        role.create_database = IsTrue(row.at(4));
        role.login = IsTrue(row.at(5));
        role.replication = IsTrue(row.at(6));
        role.bypass_rls = IsTrue(row.at(7));
        role.connection_limit = pg::Number<int>(row, 8);
        role.valid_until = row.at(9);
        role.comment = row.at(10);
        roles.push_back(std::move(role));
    }
    return roles;
}

Rights
ReadRights() {
    const pg::SqlResult result = pg::Query(
        "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls,"
        " pg_catalog.current_setting('server_version_num')"
        " FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER");
    const auto &row = result.rows.at(0);
    Rights rights;
    rights.user = row.at(0).value();
    rights.superuser = IsTrue(row.at(1));
    rights.create_role = rights.superuser || IsTrue(row.at(2));
    // Before 16, CREATEROLE is enough to give CREATEDB, and only a superuser gives the other two;
    // from 16 on, one gives what one has.
    const bool own_only = std::stoi(row.at(6).value()) >= kMembershipOptionsVersion;
    rights.membership_options = own_only;
    rights.create_database = rights.superuser || !own_only || IsTrue(row.at(3));
    rights.replication = rights.superuser || (own_only && IsTrue(row.at(4)));
    rights.bypass_rls = rights.superuser || (own_only && IsTrue(row.at(5)));
    return rights;
}

// Builds CREATE ROLE from the attributes that may be granted, and gathers for each of the others
// the roles that go without it.
class RoleCreator {
  public:
    explicit RoleCreator(const Rights &rights) : rights_(rights) {}

    void Create(const Role &role);
    void AddNotes(std::vector<std::string> &notes) const;

  private:
    struct Refused {
        const char *attribute;
        std::string roles;
    };

    void Add(const Role &role, bool wanted, bool allowed, Refused &refused);

    const Rights &rights_;
    std::string attributes_;
    Refused superuser_{"SUPERUSER", ""};
    Refused replication_{"REPLICATION", ""};
    Refused bypass_rls_{"BYPASSRLS", ""};
    Refused create_database_{"CREATEDB", ""};
};

void
RoleCreator::Add(const Role &role, bool wanted, bool allowed, Refused &refused) {
    if (wanted && allowed) {
        attributes_ += std::string(" ") + refused.attribute;
    } else if (wanted) {
        AppendName(refused.roles, role.name);
    }
}

void
RoleCreator::Create(const Role &role) {
    if (!rights_.create_role) {
        throw Error(sqlstate::kInsufficientPrivilege, "permission denied to create roles")
            .Detail("The source has roles that the target lacks, first " +
                    QuoteIdentifier(role.name) + ".")
            .Hint("Run on the target as a superuser: ALTER ROLE " + QuoteIdentifier(rights_.user) +
                  " CREATEROLE; or start the migration with roles => false.");
    }
    // Only what differs from CREATE ROLE's defaults: to mention an attribute may need its right.
    attributes_ = role.login ? " LOGIN" : "";
    attributes_ += role.inherit ? "" : " NOINHERIT";
    attributes_ += role.create_role ? " CREATEROLE" : "";
    Add(role, role.superuser, rights_.superuser, superuser_);
    Add(role, role.replication, rights_.replication, replication_);
    Add(role, role.bypass_rls, rights_.bypass_rls, bypass_rls_);
    Add(role, role.create_database, rights_.create_database, create_database_);
    if (role.connection_limit >= 0) {
        attributes_ += " CONNECTION LIMIT " + std::to_string(role.connection_limit);
    }
    if (role.valid_until) {
        attributes_ += " VALID UNTIL " + QuoteLiteral(*role.valid_until);
    }
    pg::Execute("CREATE ROLE " + QuoteIdentifier(role.name) +
                (attributes_.empty() ? "" : " WITH" + attributes_));
}

void
RoleCreator::AddNotes(std::vector<std::string> &notes) const {
    for (const Refused *refused : {&superuser_, &replication_, &bypass_rls_, &create_database_}) {
        if (!refused->roles.empty()) {
            notes.push_back(std::string("created without ") + refused->attribute + ", which " +
                            QuoteIdentifier(rights_.user) +
                            " may not grant on the target: " + refused->roles);
        }
    }
}

void
CopySettings(source::Connection &source, const std::set<std::string> &created,
             std::vector<std::string> &notes) {
    for (const auto &row : source.Query(kSettingsQuery).rows) {
        const std::string &role = row.at(0).value();
        const std::string &setting = row.at(1).value();
        const size_t equals = setting.find('=');
        if (created.count(role) == 0 || equals == std::string::npos) {
            continue;
        }
        const std::string name = setting.substr(0, equals);
        const std::string sql = "ALTER ROLE " + QuoteIdentifier(role) + " SET " +
                                QuoteIdentifier(name) + " TO " +
                                SettingValue(name, setting.substr(equals + 1));
        const std::string refusal = TryStatement(sql);
        if (!refusal.empty()) {
            // Without the value: people keep secrets in settings of their own.
            notes.push_back("setting " + QuoteIdentifier(name) + " of role " +
                            QuoteIdentifier(role) + " was left out: " + refusal);
        }
    }
}

struct Membership {
    std::string group;
    std::string member;
    bool admin = false;
    bool inherit = true; // before 16 an attribute of the member alone
    bool set = true;
    bool member_inherits = true;

    std::string
    Grant() const {
        return "GRANT " + QuoteIdentifier(group) + " TO " + QuoteIdentifier(member) +
               (admin ? " WITH ADMIN OPTION" : "");
    }
    std::string
    GrantWithOptions() const {
        const auto word = [](bool value) { return value ? "TRUE" : "FALSE"; };
        return "GRANT " + QuoteIdentifier(group) + " TO " + QuoteIdentifier(member) +
               " WITH ADMIN " + word(admin) + ", INHERIT " + word(inherit) + ", SET " + word(set);
    }
};

std::vector<Membership>
ReadMemberships(source::Connection &source) {
    std::vector<Membership> memberships;
    const bool options = source.server_version() >= kMembershipOptionsVersion;
    for (const auto &row : source.Query(options ? kMembershipsQuery16 : kMembershipsQuery).rows) {
        memberships.push_back({.group = row.at(0).value(),
                               .member = row.at(1).value(),
                               .admin = IsTrue(row.at(2)),
                               .inherit = IsTrue(row.at(3)),
                               .set = IsTrue(row.at(4)),
                               .member_inherits = IsTrue(row.at(5))});
    }
    return memberships;
}

// Whether a target without options would give more by it. So it is with the membership in each
// role that from 16 on who creates it gets of itself, to administer it.
bool
NeedsOptions(const Membership &membership) {
    return !membership.set || (!membership.inherit && membership.member_inherits);
}

void
CopyMemberships(source::Connection &source, const std::set<std::string> &created,
                const Rights &rights, std::vector<std::string> &notes) {
    const bool options =
        source.server_version() >= kMembershipOptionsVersion && rights.membership_options;
    const std::set<std::string> existing = TargetRoles();
    for (const Membership &membership : ReadMemberships(source)) {
        if (created.count(membership.member) == 0) {
            continue;
        }
        const std::string grant = options ? membership.GrantWithOptions() : membership.Grant();
        if (existing.count(membership.group) == 0) {
            notes.push_back("a membership was left out, as role " +
                            QuoteIdentifier(membership.group) +
                            " does not exist on the target: " + grant + ";");
            continue;
        }
        if (!rights.membership_options && NeedsOptions(membership)) {
            notes.push_back("a membership with INHERIT FALSE or SET FALSE was left out, as the "
                            "target's version does not have them and would give more: " +
                            grant + ";");
            continue;
        }
        const std::string refusal = TryStatement(grant);
        if (!refusal.empty()) {
            notes.push_back("a membership was left out: " + refusal + "; to try again: " + grant +
                            ";");
        } else if (!options && membership.inherit && !membership.member_inherits) {
            notes.push_back("role " + QuoteIdentifier(membership.member) + " has the rights of " +
                            QuoteIdentifier(membership.group) +
                            " after SET ROLE only, as the target's version does not have INHERIT "
                            "TRUE for a role with NOINHERIT");
        }
    }
}

void
CopyComments(const std::vector<Role> &roles, const std::set<std::string> &created,
             std::vector<std::string> &notes) {
    for (const Role &role : roles) {
        if (!role.comment || created.count(role.name) == 0) {
            continue;
        }
        const std::string refusal = TryStatement("COMMENT ON ROLE " + QuoteIdentifier(role.name) +
                                                 " IS " + QuoteLiteral(*role.comment));
        if (!refusal.empty()) {
            notes.push_back("the comment on role " + QuoteIdentifier(role.name) +
                            " was left out: " + refusal);
        }
    }
}

} // namespace

RolesReport
CopyRoles(source::Connection &source) {
    RolesReport report;
    const std::vector<Role> roles = ReadRoles(source);
    const std::set<std::string> existing = TargetRoles();
    const Rights rights = ReadRights();
    RoleCreator creator(rights);
    std::set<std::string> created;
    std::string provider_roles;
    std::string without_password;
    for (const Role &role : roles) {
        if (existing.count(role.name) != 0) {
            continue;
        }
        if (IsProviderRole(role.name)) {
            AppendName(provider_roles, role.name);
            continue;
        }
        creator.Create(role);
        created.insert(role.name);
        if (role.login) {
            AppendName(without_password, role.name);
        }
    }
    report.created = static_cast<int>(created.size());
    if (!provider_roles.empty()) {
        report.notes.push_back("left out as internal to the source's provider: " + provider_roles);
    }
    creator.AddNotes(report.notes);
    CopyMemberships(source, created, rights, report.notes);
    CopySettings(source, created, report.notes);
    CopyComments(roles, created, report.notes);
    if (!without_password.empty()) {
        report.notes.push_back("passwords are not copied: set one for each of these roles, with "
                               "\\password in psql or ALTER ROLE ... PASSWORD: " +
                               without_password);
    }
    return report;
}

} // namespace livemigrate::stage
