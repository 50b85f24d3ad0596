// Checks of what must be installed on the target: the source's extensions and the client programs.
#include "pg/prelude.hpp"

#include "stage/preflight_run.hpp"

#include "core/sql_text.hpp"
#include "core/version.hpp"
#include "pg/child_process.hpp"
#include "pg/client_binary.hpp"
#include "pg/guard.hpp"
#include "pg/sql_row.hpp"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <map>

namespace livemigrate::stage {

namespace {

constexpr int kTargetMajor = pg::kBuiltForVersion / 10000;

struct Package {
    const char *extension;
    const char *before; // of the major version in the name of the Debian package
    const char *after;
};

// Where the name of the package is not postgresql-<major>-<extension>.
constexpr Package kPackages[] = {
    {"age", "postgresql-", "-age"},
    {"h3", "postgresql-", "-h3"},
    {"orafce", "postgresql-", "-orafce"},
    {"pg_cron", "postgresql-", "-cron"},
    {"pg_hint_plan", "postgresql-", "-pg-hint-plan"},
    {"pg_partman", "postgresql-", "-partman"},
    {"pg_qualstats", "postgresql-", "-pg-qualstats"},
    {"pg_repack", "postgresql-", "-repack"},
    {"pg_squeeze", "postgresql-", "-squeeze"},
    {"pgaudit", "postgresql-", "-pgaudit"},
    {"pgtap", "postgresql-", "-pgtap"},
    {"plperl", "postgresql-plperl-", ""},
    {"plperlu", "postgresql-plperl-", ""},
    {"plpython3u", "postgresql-plpython3-", ""},
    {"pltcl", "postgresql-pltcl-", ""},
    {"pltclu", "postgresql-pltcl-", ""},
    {"postgis", "postgresql-", "-postgis-3"},
    {"postgis_raster", "postgresql-", "-postgis-3"},
    {"postgis_sfcgal", "postgresql-", "-postgis-3"},
    {"postgis_tiger_geocoder", "postgresql-", "-postgis-3"},
    {"postgis_topology", "postgresql-", "-postgis-3"},
    {"address_standardizer", "postgresql-", "-postgis-3"},
    {"timescaledb", "timescaledb-2-postgresql-", ""},
    {"vector", "postgresql-", "-pgvector"},
};

// Extensions that come with the server itself (contrib).
constexpr const char *kContrib[] = {
    "adminpack",
    "amcheck",
    "autoinc",
    "bloom",
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "dblink",
    "dict_int",
    "dict_xsyn",
    "earthdistance",
    "file_fdw",
    "fuzzystrmatch",
    "hstore",
    "insert_username",
    "intagg",
    "intarray",
    "isn",
    "lo",
    "ltree",
    "moddatetime",
    "old_snapshot",
    "pageinspect",
    "pg_buffercache",
    "pg_freespacemap",
    "pg_logicalinspect",
    "pg_overexplain",
    "pg_prewarm",
    "pg_stat_statements",
    "pg_surgery",
    "pg_trgm",
    "pg_visibility",
    "pg_walinspect",
    "pgcrypto",
    "pgrowlocks",
    "pgstattuple",
    "postgres_fdw",
    "refint",
    "seg",
    "sslinfo",
    "tablefunc",
    "tcn",
    "tsm_system_rows",
    "tsm_system_time",
    "unaccent",
    "uuid-ossp",
    "xml2",
};

std::string
PackageOf(const std::string &extension) {
    const std::string major = std::to_string(kTargetMajor);
    for (const Package &package : kPackages) {
        if (extension == package.extension) {
            return package.before + major + package.after;
        }
    }
    for (const char *name : kContrib) {
        if (extension == name) {
            return "postgresql-" + major;
        }
    }
    std::string name = "postgresql-" + major + "-";
    for (const char character : extension) {
        // Only what may stand in a package's name: this becomes a command.
        const bool is_plain =
            (character >= 'a' && character <= 'z') || (character >= '0' && character <= '9');
        name += is_plain ? character : '-';
    }
    return name;
}

// An extension as the source has it.
struct WantedExtension {
    std::string name;
    std::string version;
    std::string schema;
};

// What the target has of one.
struct AvailableExtension {
    std::string version; // that it has, or would get
    std::string newest;  // that it would get anew
    std::string schema;  // empty: it is not in the database yet
    bool is_relocatable = false;
    bool takes_superuser = false; // to be created
};

using AvailableExtensions = std::map<std::string, AvailableExtension>;

// Extensions whose library refuses to be loaded by a session, as CREATE EXTENSION does for its
// functions (_PG_init of each). Others do without, such as pg_stat_statements, which then collects
// nothing.
constexpr const char *kPreloaded[] = {
    "citus", "pg_cron", "pg_net", "pg_squeeze", "pgaudit", "pglogical", "timescaledb",
};

AvailableExtensions
ListAvailable() {
    AvailableExtensions available;
    const pg::SqlResult found = pg::Query(
        "SELECT a.name, COALESCE(a.installed_version, a.default_version), a.default_version,"
        "       n.nspname, e.extrelocatable,"
        "       v.superuser AND NOT v.trusted"
        " FROM pg_catalog.pg_available_extensions a"
        " LEFT JOIN pg_catalog.pg_extension e ON e.extname = a.name"
        " LEFT JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace"
        " LEFT JOIN pg_catalog.pg_available_extension_versions v"
        "   ON v.name = a.name AND v.version = a.default_version");
    for (const pg::SqlRow &row : found.rows) {
        available.emplace(pg::Text(row, 0),
                          AvailableExtension{pg::Text(row, 1), pg::Text(row, 2), pg::Text(row, 3),
                                             pg::Flag(row, 4), pg::Flag(row, 5)});
    }
    return available;
}

std::string
CreateExtension(const WantedExtension &wanted) {
    const std::string schema = QuoteIdentifier(wanted.schema);
    return (wanted.schema.starts_with("pg_") ? ""
                                             : "CREATE SCHEMA IF NOT EXISTS " + schema + ";\n") +
           "CREATE EXTENSION " + QuoteIdentifier(wanted.name) + " SCHEMA " + schema + " CASCADE;";
}

// Whether objects of the source that are no extension's depend on this one's.
bool
IsUsed(PreflightRun &run, const std::string &extension) {
    return run.source
               .Query("WITH member AS (SELECT d.classid, d.objid FROM pg_catalog.pg_depend d"
                      "   JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid"
                      "   WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass"
                      "     AND d.deptype = 'e' AND e.extname = $1::text),"
                      " provided AS (SELECT classid, objid FROM member"
                      "   UNION SELECT m.classid, t.typarray FROM member m"
                      "   JOIN pg_catalog.pg_type t ON t.oid = m.objid"
                      "   WHERE m.classid = 'pg_catalog.pg_type'::pg_catalog.regclass)"
                      " SELECT EXISTS (SELECT FROM provided p JOIN pg_catalog.pg_depend d"
                      "   ON d.refclassid = p.classid AND d.refobjid = p.objid"
                      "   WHERE d.deptype IN ('n', 'a')"
                      "     AND d.classid IN ('pg_catalog.pg_class'::pg_catalog.regclass,"
                      "       'pg_catalog.pg_proc'::pg_catalog.regclass,"
                      "       'pg_catalog.pg_type'::pg_catalog.regclass,"
                      "       'pg_catalog.pg_attrdef'::pg_catalog.regclass,"
                      "       'pg_catalog.pg_constraint'::pg_catalog.regclass,"
                      "       'pg_catalog.pg_rewrite'::pg_catalog.regclass,"
                      "       'pg_catalog.pg_trigger'::pg_catalog.regclass)"
                      "     AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend x"
                      "       WHERE x.classid = d.classid AND x.objid = d.objid"
                      "         AND x.deptype = 'e'))",
                      {extension})
               .Scalar() == "t";
}

// The schema names what it uses of an extension by the schema that this is in on the source.
void
CheckExtensionSchema(PreflightRun &run, const WantedExtension &wanted,
                     const AvailableExtension &available) {
    if (available.schema.empty() || available.schema == wanted.schema) {
        return;
    }
    const std::string name = QuoteIdentifier(wanted.name);
    const std::string schema = QuoteIdentifier(wanted.schema);
    const std::string message = "extension " + name + " is in schema " + schema +
                                " on the source and in " + QuoteIdentifier(available.schema) +
                                " on the target";
    const std::string fix = available.is_relocatable
                                ? "CREATE SCHEMA IF NOT EXISTS " + schema + ";\nALTER EXTENSION " +
                                      name + " SET SCHEMA " + schema + ";"
                                : "DROP EXTENSION " + name + ";\n" + CreateExtension(wanted);
    if (IsUsed(run, wanted.name)) {
        run.Fail("extensions", sqlstate::kObjectNotInPrerequisiteState, name,
                 message + ": what uses it cannot be created", fix);
    } else {
        run.Warning("extensions", name,
                    message + ": functions and queries that name it there do not find it", fix);
    }
}

void
CheckExtensionVersion(PreflightRun &run, const WantedExtension &wanted,
                      const AvailableExtension &available) {
    if (available.version == wanted.version) {
        return;
    }
    const std::string name = QuoteIdentifier(wanted.name);
    const std::string message = "extension " + name + " is version " + wanted.version +
                                " on the source and will be " + available.version +
                                " on the target";
    if (CompareVersions(available.version, wanted.version) > 0) {
        run.Notice("extension_versions", name, message,
                   Comment("to have the same on both, where the source has that version, there: "
                           "ALTER EXTENSION " +
                           name + " UPDATE TO " + QuoteLiteral(available.version) + ";"));
        return;
    }
    const bool can_update = CompareVersions(available.version, available.newest) < 0;
    run.Warning("extension_versions", name,
                message + ", which is older: what only the newer one has is missing there",
                can_update ? "ALTER EXTENSION " + name + " UPDATE; -- on the target"
                           : "-- on the target's machine: apt-get install --only-upgrade " +
                                 PackageOf(wanted.name));
}

void
CheckExtension(PreflightRun &run, const WantedExtension &wanted,
               const AvailableExtensions &available) {
    const std::string name = QuoteIdentifier(wanted.name);
    const auto found = available.find(wanted.name);
    if (found == available.end()) {
        run.Fail("extensions", sqlstate::kUndefinedObject, name,
                 "extension " + name +
                     " of the source is not installed on the "
                     "target server",
                 "-- on the target's machine: apt-get install " + PackageOf(wanted.name));
        return;
    }
    CheckExtensionVersion(run, wanted, found->second);
    if (run.CreatesSchema()) {
        CheckExtensionSchema(run, wanted, found->second);
    }
}

// Of those that stage schema will create.
void
CheckCreation(PreflightRun &run, const std::vector<WantedExtension> &extensions,
              const AvailableExtensions &available) {
    const bool is_superuser = pg::Call([] { return superuser(); });
    std::vector<std::string> unloaded;
    for (const WantedExtension &wanted : extensions) {
        const auto found = available.find(wanted.name);
        if (found == available.end() || !found->second.schema.empty()) {
            continue;
        }
        if (std::find(std::begin(kPreloaded), std::end(kPreloaded), wanted.name) !=
                std::end(kPreloaded) &&
            !IsPreloaded(wanted.name)) {
            unloaded.push_back(wanted.name);
        }
        if (found->second.takes_superuser && !is_superuser) {
            const std::string name = QuoteIdentifier(wanted.name);
            run.Fail("extensions", sqlstate::kInsufficientPrivilege, name,
                     "extension " + name +
                         " of the source takes a superuser of the target to be "
                         "created, as it is not trusted",
                     CreateExtension(wanted) + " -- as superuser, in the target database");
        }
    }
    if (!unloaded.empty()) {
        run.Fail(
            "extensions", sqlstate::kObjectNotInPrerequisiteState, ListNames(unloaded),
            "what can only be created where it is in shared_preload_libraries of the target: " +
                ListNames(unloaded),
            PreloadFix(unloaded));
    }
}

// "pg_dump (PostgreSQL) 15.20 (Debian ...)": the major version; 0 for other text.
int
MajorOf(const std::string &output) {
    const size_t end_of_name = output.find(") ");
    return end_of_name == std::string::npos ? 0 : std::atoi(output.c_str() + end_of_name + 2);
}

// pg_dump reads no server that is newer than itself.
void
CheckBinary(PreflightRun &run, const char *name) {
    const int wanted = std::max(kTargetMajor, run.info().major());
    const std::string install =
        "-- on the target's machine: apt-get install postgresql-client-" + std::to_string(wanted);
    try {
        const pg::ChildResult answer =
            pg::RunChild({{pg::ClientBinary(name, wanted), "--version"}, {}});
        const int major = answer.exit_code == 0 ? MajorOf(answer.output) : 0;
        if (major == wanted) {
            run.Ok("client_binaries", name, answer.output.substr(0, answer.output.find('\n')));
        } else {
            run.Fail("client_binaries", sqlstate::kObjectNotInPrerequisiteState, name,
                     std::string("the program ") + name + " on the target is not of PostgreSQL " +
                         std::to_string(wanted),
                     install);
        }
    } catch (const Error &error) {
        if (error.sqlstate() != sqlstate::kUndefinedFile) {
            throw;
        }
        const bool others_write = error.hint().starts_with("chown");
        run.Fail("client_binaries", error.sqlstate(), name,
                 error.message() + (others_write ? "" : " on the target"),
                 others_write ? Comment("on the target's machine: " + error.hint()) : install);
    }
}

} // namespace

void
CheckExtensions(PreflightRun &run) {
    std::vector<WantedExtension> extensions;
    for (const pg::SqlRow &row :
         run.source
             .Query("SELECT e.extname, e.extversion, n.nspname FROM pg_catalog.pg_extension e"
                    " JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace"
                    " WHERE extname NOT IN ('plpgsql', 'livemigrate') ORDER BY extname")
             .rows) {
        extensions.push_back({pg::Text(row, 0), pg::Text(row, 1), pg::Text(row, 2)});
    }
    const AvailableExtensions available = ListAvailable();
    for (const WantedExtension &wanted : extensions) {
        CheckExtension(run, wanted, available);
    }
    if (run.CreatesSchema()) {
        CheckCreation(run, extensions, available);
    }
    if (!run.Failed("extensions")) {
        run.Ok("extensions", "target",
               Count(extensions.size(), "extension") + " of the source can be installed");
    }
}

void
CheckClientBinaries(PreflightRun &run) {
    if (run.Failed("source_version")) {
        return; // says which programs a downgrade takes
    }
    if (run.settings.existing_slot || (!run.CreatesSchema() && run.info().major() > kTargetMajor)) {
        return; // the schema is there: it was brought by other means
    }
    CheckBinary(run, "pg_dump");
    CheckBinary(run, "pg_restore");
}

} // namespace livemigrate::stage
