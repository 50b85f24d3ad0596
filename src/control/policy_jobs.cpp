#include "pg/prelude.hpp"

#include "control/policy_jobs.hpp"

#include "control/advisory_lock.hpp"
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

// Two that end at once would each leave the jobs to the other, and one that begins would not see
// what one that ends is about to schedule.
void
LockJobs() {
    AcquireForTransaction(kAllMigrations, LockClass::kPolicyJobs, LockStrength::kExclusive);
}

// Migrations whose data are not complete.
struct Unfinished {
    std::string names; // empty: none
    bool stops_scheduler = false;
};

Unfinished
OtherUnfinished(int32_t migration) {
    const pg::SqlResult result = pg::Query(
        "SELECT pg_catalog.string_agg(pg_catalog.format('\"%s\"', m.name), ', ' ORDER BY m.id), "
        "pg_catalog.bool_or(r.rolsuper) FROM livemigrate.migration m "
        "LEFT JOIN pg_catalog.pg_roles r ON r.oid = m.owner WHERE m.id <> $1::int "
        "AND m.stage <> $2 AND m.state NOT IN ('done', 'aborted')",
        {std::to_string(migration), std::string(StageName(Stage::kPreflight))});
    const pg::SqlRow &row = result.rows.at(0);
    return {pg::Text(row, 0), pg::Flag(row, 1)};
}

pg::SqlResult
ScheduledJobs() {
    return pg::Query("SELECT job_id, application_name, pg_catalog.pg_has_role(owner, 'USAGE'), "
                     "owner FROM timescaledb_information.jobs "
                     "WHERE scheduled AND job_id >= $1::int ORDER BY job_id",
                     {kFirstUserJob});
}

void
PauseJobs(int32_t migration, const std::string &schema) {
    for (const pg::SqlRow &row : ScheduledJobs().rows) {
        const std::string job = pg::Text(row, 0);
        const std::string sql = ScheduleSql(schema, job, false);
        if (!pg::Flag(row, 2)) {
            WarnOfOthersJob(migration, Stage::kSchema,
                            "job " + job + " of TimescaleDB is not paused: it belongs to role " +
                                pg::Text(row, 3),
                            sql);
            continue;
        }
        pg::Query(sql);
        pg::Query("INSERT INTO livemigrate.paused_job VALUES ($1::int) ON CONFLICT DO NOTHING",
                  {job});
        RecordEvent(migration, "info", Stage::kSchema,
                    "job " + job + " of TimescaleDB is paused until the migration is done",
                    pg::Text(row, 1));
    }
}

// Those of the paused jobs that are still there.
pg::SqlResult
PausedJobs() {
    return pg::Query("SELECT j.job_id, pg_catalog.pg_has_role(j.owner, 'USAGE'), j.owner "
                     "FROM livemigrate.paused_job p "
                     "JOIN timescaledb_information.jobs j ON j.job_id = p.id ORDER BY 1");
}

void
ScheduleJobs(int32_t migration, const std::string &schema) {
    size_t scheduled = 0;
    for (const pg::SqlRow &row : PausedJobs().rows) {
        const std::string job = pg::Text(row, 0);
        const std::string sql = ScheduleSql(schema, job, true);
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
    pg::Query("DELETE FROM livemigrate.paused_job");
}

} // namespace

bool
PausePolicyJobs(int32_t migration, bool stop_scheduler) {
    pg::Transaction transaction;
    const std::optional<std::string> schema = FunctionSchema();
    if (!schema) {
        return false;
    }
    if (!stop_scheduler && ScheduledJobs().rows.empty()) {
        return true; // and nobody waited for
    }
    LockJobs();
    if (stop_scheduler && IsSuperuser()) {
        pg::Query("SELECT _timescaledb_functions.stop_background_workers()");
    }
    PauseJobs(migration, *schema);
    transaction.Commit();
    return true;
}

void
ResumePolicyJobs(int32_t migration) {
    const std::optional<std::string> schema = FunctionSchema();
    if (!schema) {
        return;
    }
    LockJobs();
    const Unfinished others = OtherUnfinished(migration);
    if (others.names.empty()) {
        ScheduleJobs(migration, *schema);
    } else if (const size_t jobs = PausedJobs().rows.size(); jobs > 0) {
        RecordEvent(migration, "warning", Stage::kDone,
                    std::to_string(jobs) + " jobs of TimescaleDB stay paused",
                    "They are scheduled when the other migrations have ended: " + others.names +
                        ".");
    }
    if (IsSuperuser() && !others.stops_scheduler) {
        pg::Query("SELECT _timescaledb_functions.start_background_workers()");
    }
}

} // namespace livemigrate::control
