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

std::string
ScheduleSql(const std::string &schema, const std::string &job, bool scheduled) {
    return "SELECT FROM " + QuoteIdentifier(schema) + ".alter_job(" + job + ", scheduled => " +
           (scheduled ? "true" : "false") + ");";
}

// Of a job that only its owner may alter, once for each migration.
void
WarnOfOthersJob(int32_t migration, Stage stage, const std::string &message,
                const std::string &sql) {
    if (pg::Query("SELECT FROM livemigrate.event WHERE migration = $1::int AND message = $2",
                  {std::to_string(migration), message})
            .rows.empty()) {
        RecordEvent(migration, "warning", stage, message,
                    "As its owner or a superuser, run: " + sql);
    }
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
        pg::Query("SELECT job_id, application_name, pg_catalog.pg_has_role(owner, 'USAGE'), owner "
                  "FROM timescaledb_information.jobs "
                  "WHERE scheduled AND job_id >= $1::int ORDER BY job_id",
                  {kFirstUserJob});
    for (const pg::SqlRow &row : jobs.rows) {
        const std::string job = pg::Text(row, 0);
        const std::string sql = ScheduleSql(*schema, job, false);
        if (!pg::Flag(row, 2)) {
            WarnOfOthersJob(migration, Stage::kSchema,
                            "job " + job + " of TimescaleDB is not paused: it belongs to role " +
                                pg::Text(row, 3),
                            sql);
            continue;
        }
        pg::Query(sql);
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
    const pg::SqlResult jobs = pg::Query("SELECT j.job_id, pg_catalog.pg_has_role(j.owner, "
                                         "'USAGE'), j.owner FROM livemigrate.migration m, "
                                         "pg_catalog.unnest(m.paused_jobs) AS u(id) "
                                         "JOIN timescaledb_information.jobs j ON j.job_id = u.id "
                                         "WHERE m.id = $1::int ORDER BY 1",
                                         {std::to_string(migration)});
    size_t scheduled = 0;
    for (const pg::SqlRow &row : jobs.rows) {
        const std::string job = pg::Text(row, 0);
        const std::string sql = ScheduleSql(*schema, job, true);
        if (!pg::Flag(row, 1)) {
            WarnOfOthersJob(migration, Stage::kDone,
                            "job " + job + " of TimescaleDB stays paused: it belongs to role " +
                                pg::Text(row, 2),
                            sql);
            continue;
        }
        pg::Query(sql);
        scheduled++;
    }
    if (scheduled > 0) {
        RecordEvent(migration, "info", Stage::kDone,
                    std::to_string(scheduled) + " paused jobs of TimescaleDB are scheduled again");
    }
    pg::Query("UPDATE livemigrate.migration SET paused_jobs = '{}' WHERE id = $1::int",
              {std::to_string(migration)});
    if (IsSuperuser()) {
        pg::Query("SELECT _timescaledb_functions.start_background_workers()");
    }
}

} // namespace livemigrate::control
