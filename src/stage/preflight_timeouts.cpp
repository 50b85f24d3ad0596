// Time limits of our role on the source, which a copy would exceed.
#include "pg/prelude.hpp"

#include "stage/preflight_run.hpp"

#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

namespace livemigrate::stage {

// Our connections set them aside when they start, which makes what is configured invisible to them
// but for what ALTER ROLE and ALTER DATABASE have left in the catalog.
void
CheckTimeouts(PreflightRun &run) {
    const pg::SqlResult found = run.source.Query(
        "SELECT DISTINCT setting FROM pg_catalog.pg_db_role_setting s"
        " CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS setting"
        " WHERE s.setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles"
        "                         WHERE rolname = current_user))"
        "   AND s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database"
        "                             WHERE datname = pg_catalog.current_database()))"
        "   AND setting ~ '^(statement|lock|transaction|idle_session"
        "|idle_in_transaction_session)_timeout='"
        " ORDER BY setting");
    const std::string role = QuoteIdentifier(run.info().role);
    std::string settings;
    for (const pg::SqlRow &row : found.rows) {
        settings += (settings.empty() ? "" : ", ") + pg::Text(row, 0);
    }
    run.Ok("timeouts", role,
           settings.empty() ? "no time limit is set for the role, and none would hold for the "
                              "migration's connections"
                            : settings + " of the role does not hold for the migration's "
                                         "connections, which set it to 0");
}

} // namespace livemigrate::stage
