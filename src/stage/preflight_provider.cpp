// Who runs the source, by the roles that only that provider makes, and its own way to do what ALTER
// SYSTEM and superuser rights do elsewhere. doc/providers.md has the same.
#include "pg/prelude.hpp"

#include "stage/preflight_run.hpp"

#include "core/access_fix.hpp"
#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

namespace livemigrate::stage {

namespace {

struct Provider {
    const char *role;
    const char *name;
    const char *decoding;     // turns logical decoding on
    const char *replication;  // before the role's name
    const char *setting_line; // %p is the parameter, %v its value
    const char *restart;      // of a parameter that takes one
};

constexpr char kRdsDecoding[] = "rds.logical_replication = 1\n-- in the parameter group, at Aurora "
                                "that of the cluster; then restart the writer";
constexpr char kRdsReplication[] = "GRANT rds_replication TO %s;";
constexpr char kRdsSetting[] = "%p = %v\n-- in the parameter group, at Aurora that of the cluster";
constexpr char kRdsRestart[] = "; then restart the writer";

constexpr char kDumpAndRestore[] =
    "-- dump and restore: pg_dump -Fc here and pg_restore into the target while applications stand "
    "still; Heroku's support gives large databases a physical copy";

// AlloyDB has Cloud SQL's role, too. Heroku's newer plans run on Aurora.
constexpr Provider kProviders[] = {
    {"heroku_admin", kHeroku, kDumpAndRestore, kDumpAndRestore,
     "-- %p = %v: at Heroku nobody but its support could set it", ""},
    {"alloydbsuperuser", kAlloyDb,
     "alloydb.logical_decoding = on\n-- a flag of the primary instance; restart it then",
     "ALTER ROLE %s REPLICATION;", "%p = %v\n-- a flag of the primary instance",
     "; restart it then"},
    {"cloudsqlsuperuser", kCloudSql,
     "cloudsql.logical_decoding = on\n-- a flag of the instance; restart it then",
     "ALTER ROLE %s REPLICATION;", "%p = %v\n-- a flag of the instance", "; restart it then"},
    {"azure_pg_admin", kAzure,
     "wal_level = logical\n-- a server parameter; restart the server then",
     "ALTER ROLE %s REPLICATION;", "%p = %v\n-- a server parameter", "; restart the server then"},
    {"neon_superuser", kNeon,
     "-- enable logical replication in the project's settings; it cannot be disabled again",
     "GRANT neon_superuser TO %s;", "-- %p = %v: at Neon its support sets it", ""},
    {"tsdbadmin", kTimescale, "-- logical decoding is on at Timescale: ask its support",
     "-- use role tsdbadmin in place of %s",
     "%p = %v\n-- a database parameter of the service, in its console; one that is not there its "
     "support sets",
     "; restart the service then"},
    {"supabase_admin", kSupabase, "-- logical decoding is on at Supabase: ask its support",
     "-- use role postgres in place of %s",
     "-- with Supabase's command line: supabase --experimental postgres-config update --config "
     "%p=%v",
     ""},
    {"rds_superuser", kAmazonRds, kRdsDecoding, kRdsReplication, kRdsSetting, kRdsRestart},
    {"rds_replication", kAmazonRds, kRdsDecoding, kRdsReplication, kRdsSetting, kRdsRestart},
};

std::string
Replace(std::string text, std::string_view what, const std::string &by) {
    const size_t at = text.find(what);
    return at == std::string::npos ? text : text.replace(at, what.size(), by);
}

} // namespace

std::string
SourceWays::SettingLine(const std::string &parameter, const std::string &value) const {
    const bool is_list = value.find(", ") != std::string::npos;
    return Replace(Replace(setting_line, "%p", parameter), "%v",
                   is_list ? QuoteLiteral(value) : value);
}

std::string
SourceWays::Set(const std::string &parameter, const std::string &value) const {
    return provider.empty() ? SetAndReload(parameter, value) : SettingLine(parameter, value);
}

std::string
SourceWays::SetWithRestart(const std::string &parameter, const std::string &value) const {
    return provider.empty() ? SetAndRestart(parameter, value, "source")
                            : SettingLine(parameter, value) + restart;
}

std::string
SourceWays::Upgrade(int major) const {
    return provider.empty()
               ? "-- on the source's machine: apt-get install --only-upgrade "
                 "postgresql-" +
                     std::to_string(major)
               : "-- take the newest release of PostgreSQL " + std::to_string(major) + " that " +
                     provider + " has, in its console or with its next maintenance";
}

std::string
SourceWays::Install(const std::string &package) const {
    return provider.empty() ? "-- on the source's machine: apt-get install " + package
                            : "-- " + provider + " alone can install it: use plugin => 'pgoutput'";
}

SourceWays
FindSourceWays(PreflightRun &run) {
    std::string names;
    for (const Provider &provider : kProviders) {
        names += (names.empty() ? "" : ", ") + QuoteLiteral(provider.role);
    }
    const pg::SqlResult found = run.source.Query(
        "SELECT rolname FROM pg_catalog.pg_roles WHERE rolname IN (" + names + ")");
    const std::string role = QuoteIdentifier(run.info().role);
    SourceWays ways;
    for (const Provider &provider : kProviders) {
        for (const pg::SqlRow &row : found.rows) {
            if (pg::Text(row, 0) != provider.role) {
                continue;
            }
            ways.provider = provider.name;
            ways.decoding = provider.decoding;
            ways.replication = Replace(provider.replication, "%s", role);
            ways.setting_line = provider.setting_line;
            ways.restart = provider.restart;
            return ways;
        }
    }
    ways.decoding = SetAndRestart("wal_level", "'logical'", "source");
    ways.replication = "ALTER ROLE " + role + " REPLICATION;";
    return ways;
}

} // namespace livemigrate::stage
