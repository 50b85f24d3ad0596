#include "pg/prelude.hpp"

#include "control/policy_jobs.hpp"

#include "control/catalog.hpp"
#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/sql_row.hpp"
#include "pg/transaction.hpp"

#include <optional>

namespace livemigrate::control {

namespace {

// Jobs below are TimescaleDB's own.
constexpr char kFirstUserJob[] = "1000";

// The schema of TimescaleDB's functions; nothing where the extension is not there.
std::optional<std::string>
FunctionSchema() {
    return pg::Query("SELECT n.nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace "
                     "n ON n.oid = e.extnamespace WHERE e.extname = 'timescaledb'")
        .Scalar();
}

void
Schedule(const std::string &schema, const std::string &job, bool scheduled) {
    pg::Query("SELECT FROM " + QuoteIdentifier(schema) +
                  ".alter_job($1::int, scheduled => $2::boolean)",
              {job, pg::BoolText(scheduled)});
}

bool
IsSuperuser() {
    return pg::Call([] { return superuser(); });
}

} // namespace

bool
PausePolicyJobs(int32_t migration, bool stop_scheduler) {
    pg::Transaction transaction;
    const std::optional<std::string> schema = FunctionSchema();
    if (!schema) {
        return false;
    }
    if (stop_scheduler && IsSuperuser()) {
        pg::Query("SELECT _timescaledb_functions.stop_background_workers()");
    }
    const pg::SqlResult jobs =
        pg::Query("SELECT job_id, application_name FROM timescaledb_information.jobs "
                  "WHERE scheduled AND job_id >= $1::int ORDER BY job_id",
                  {kFirstUserJob});
    for (const pg::SqlRow &row : jobs.rows) {
        const std::string job = pg::Text(row, 0);
        Schedule(*schema, job, false);
        pg::Query("UPDATE livemigrate.migration SET paused_jobs = "
                  "pg_catalog.array_append(paused_jobs, $2::int) WHERE id = $1::int",
                  {std::to_string(migration), job});
        RecordEvent(migration, "info", Stage::kSchema,
                    "job " + job + " of TimescaleDB is paused until the migration is done",
                    pg::Text(row, 1));
    }
    transaction.Commit();
    return true;
}

void
ResumePolicyJobs(int32_t migration) {
    const std::optional<std::string> schema = FunctionSchema();
    if (!schema) {
        return;
    }
    const pg::SqlResult jobs = pg::Query("SELECT j.job_id FROM livemigrate.migration m, "
                                         "pg_catalog.unnest(m.paused_jobs) AS u(id) "
                                         "JOIN timescaledb_information.jobs j ON j.job_id = u.id "
                                         "WHERE m.id = $1::int ORDER BY 1",
                                         {std::to_string(migration)});
    for (const pg::SqlRow &row : jobs.rows) {
        Schedule(*schema, pg::Text(row, 0), true);
    }
    if (!jobs.rows.empty()) {
        RecordEvent(migration, "info", Stage::kDone,
                    std::to_string(jobs.rows.size()) + " paused jobs of TimescaleDB are scheduled "
                                                       "again");
    }
    pg::Query("UPDATE livemigrate.migration SET paused_jobs = '{}' WHERE id = $1::int",
              {std::to_string(migration)});
    if (IsSuperuser()) {
        pg::Query("SELECT _timescaledb_functions.start_background_workers()");
    }
}

} // namespace livemigrate::control
