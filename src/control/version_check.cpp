#include "pg/prelude.hpp"

#include "control/version_check.hpp"

#include "core/error.hpp"
#include "core/version.hpp"
#include "pg/sql_row.hpp"
#include "pg/transaction.hpp"

namespace livemigrate::control {

void
CheckVersion() {
    const pg::SqlResult result = pg::Query("SELECT e.extversion FROM pg_catalog.pg_extension e "
                                           "WHERE e.extname OPERATOR(pg_catalog.=) 'livemigrate'");
    // Without a row the scripts are just being run, or gone.
    if (result.rows.empty() || result.Scalar() == kVersion) {
        return;
    }
    const std::string installed = pg::Text(result.rows[0], 0);
    const bool library_is_newer = CompareVersions(installed, kVersion) < 0;
    throw Error(sqlstate::kObjectNotInPrerequisiteState,
                "extension livemigrate is of version " + installed +
                    " in this database, but the server has loaded version " + std::string(kVersion))
        .Detail("A migration that was under way is kept as it is, and so is its slot.")
        .Hint(library_is_newer
                  ? "Run: ALTER EXTENSION livemigrate UPDATE; then, for a migration that was under "
                    "way: SELECT livemigrate.migration_resume();"
                  : "Reconnect, or restart the server if livemigrate is in "
                    "shared_preload_libraries, so that it loads the new version; then, for a "
                    "migration that was under way: SELECT livemigrate.migration_resume();");
}

bool
VersionFits(int32_t migration) {
    try {
        pg::Transaction transaction;
        CheckVersion();
        transaction.Commit();
        return true;
    } catch (const Error &error) {
        if (error.sqlstate() != sqlstate::kObjectNotInPrerequisiteState) {
            throw;
        }
        ereport(LOG, (errmsg("livemigrate: the coordinator of migration %d leaves: %s", migration,
                             error.message().c_str()),
                      errhint("%s", error.hint().c_str())));
        return false;
    }
}

} // namespace livemigrate::control
