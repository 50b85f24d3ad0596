// Who runs the source, by the roles that only that provider makes, and its own way to do what ALTER
// SYSTEM and superuser rights do elsewhere. doc/providers.md has the same.
#include "pg/prelude.hpp"

#include "stage/preflight_run.hpp"

#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

namespace livemigrate::stage {

namespace {

struct Provider {
    const char *role;
    const char *name;
    const char *decoding;    // turns logical decoding on
    const char *replication; // before the role's name
};

// AlloyDB has Cloud SQL's role, too.
constexpr Provider kProviders[] = {
    {"alloydbsuperuser", "AlloyDB",
     "alloydb.logical_decoding = on\n-- a flag of the primary instance; restart it then",
     "ALTER ROLE %s REPLICATION;"},
    {"cloudsqlsuperuser", "Cloud SQL",
     "cloudsql.logical_decoding = on\n-- a flag of the instance; restart it then",
     "ALTER ROLE %s REPLICATION;"},
    {"azure_pg_admin", "Azure Database for PostgreSQL",
     "wal_level = logical\n-- a server parameter; restart the server then",
     "ALTER ROLE %s REPLICATION;"},
    {"neon_superuser", "Neon",
     "-- enable logical replication in the project's settings; it cannot be disabled again",
     "GRANT neon_superuser TO %s;"},
    {"tsdbadmin", "Timescale", "-- logical decoding is on at Timescale: ask its support",
     "-- use role tsdbadmin in place of %s"},
    {"supabase_admin", "Supabase", "-- logical decoding is on at Supabase: ask its support",
     "-- use role postgres in place of %s"},
    {"rds_superuser", "Amazon RDS or Aurora",
     "rds.logical_replication = 1\n-- in the parameter group, at Aurora that of the cluster; then "
     "restart the writer",
     "GRANT rds_replication TO %s;"},
    {"rds_replication", "Amazon RDS or Aurora",
     "rds.logical_replication = 1\n-- in the parameter group, at Aurora that of the cluster; then "
     "restart the writer",
     "GRANT rds_replication TO %s;"},
};

} // namespace

ProviderFixes
FindProvider(PreflightRun &run) {
    std::string names;
    for (const Provider &provider : kProviders) {
        names += (names.empty() ? "" : ", ") + QuoteLiteral(provider.role);
    }
    const pg::SqlResult found = run.source.Query(
        "SELECT rolname FROM pg_catalog.pg_roles WHERE rolname IN (" + names + ")");
    const std::string role = QuoteIdentifier(run.info().role);
    for (const Provider &provider : kProviders) {
        for (const pg::SqlRow &row : found.rows) {
            if (pg::Text(row, 0) != provider.role) {
                continue;
            }
            std::string replication = provider.replication;
            replication.replace(replication.find("%s"), 2, role);
            return {provider.name, provider.decoding, std::move(replication)};
        }
    }
    return {"", SetAndRestart("wal_level", "'logical'", "source"),
            "ALTER ROLE " + role + " REPLICATION;"};
}

} // namespace livemigrate::stage
