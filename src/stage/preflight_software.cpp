// Checks of what must be installed on the target: the source's extensions and the client programs.
#include "pg/prelude.hpp"

#include "stage/preflight_run.hpp"

#include "core/sql_text.hpp"
#include "pg/child_process.hpp"
#include "pg/client_binary.hpp"
#include "pg/sql_row.hpp"

#include <algorithm>
#include <cstdlib>
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

void
CheckExtension(PreflightRun &run, const std::string &name, const std::string &version,
               const std::map<std::string, std::string> &available) {
    const auto found = available.find(name);
    if (found == available.end()) {
        run.Fail("extensions", sqlstate::kUndefinedObject, QuoteIdentifier(name),
                 "extension " + QuoteIdentifier(name) +
                     " of the source is not installed on the "
                     "target server",
                 "-- on the target's machine: apt-get install " + PackageOf(name));
    } else if (found->second != version) {
        run.Notice("extension_versions", QuoteIdentifier(name),
                   "extension " + QuoteIdentifier(name) + " is version " + version +
                       " on the source and will be " + found->second + " on the target",
                   Comment("to have the same on both, where the source has that version, there: "
                           "ALTER EXTENSION " +
                           QuoteIdentifier(name) + " UPDATE TO " + QuoteLiteral(found->second) +
                           ";"));
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
    const pg::SqlResult wanted =
        run.source.Query("SELECT extname, extversion FROM pg_catalog.pg_extension"
                         " WHERE extname NOT IN ('plpgsql', 'livemigrate') ORDER BY extname");
    std::map<std::string, std::string> available;
    for (const pg::SqlRow &row :
         pg::Query("SELECT name, COALESCE(installed_version, default_version)"
                   " FROM pg_catalog.pg_available_extensions")
             .rows) {
        available.emplace(pg::Text(row, 0), pg::Text(row, 1));
    }
    for (const pg::SqlRow &row : wanted.rows) {
        CheckExtension(run, pg::Text(row, 0), pg::Text(row, 1), available);
    }
    if (!run.Failed("extensions")) {
        run.Ok("extensions", "target",
               Count(wanted.rows.size(), "extension") + " of the source can be installed");
    }
}

void
CheckClientBinaries(PreflightRun &run) {
    if (run.Failed("source_version")) {
        return; // says which programs a downgrade takes
    }
    const bool is_dumped =
        run.settings.on_existing == OnExisting::kError && !run.settings.existing_slot;
    if (!is_dumped && run.info().major() > kTargetMajor) {
        return; // the schema is there: it was brought by other means
    }
    CheckBinary(run, "pg_dump");
    CheckBinary(run, "pg_restore");
}

} // namespace livemigrate::stage
