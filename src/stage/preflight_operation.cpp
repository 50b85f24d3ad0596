// Checks of how the source is run: by whom, behind what, and what works there by itself.
#include "pg/prelude.hpp"

#include "stage/preflight_run.hpp"

#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

#include <set>
#include <utility>

namespace livemigrate::stage {

namespace {

// Below this, decoding writes every larger transaction to the source's disk; the default is 64 MB.
constexpr int kLeastDecodingMemoryKb = 16 * 1024;

// Behind a pooler the process that libpq was told of is not the one that answers.
void
CheckPooler(PreflightRun &run) {
    const pg::SqlResult found = run.source.Query(
        "SELECT pg_catalog.pg_backend_pid(), pg_catalog.host(pg_catalog.inet_server_addr()),"
        " pg_catalog.current_setting('port')");
    const pg::SqlRow &row = found.rows.at(0);
    if (pg::Number<int>(row, 0) == PQbackendPID(run.source.raw())) {
        run.Ok("pooler", "source", "the connection leads to the server itself");
        return;
    }
    const std::string host = pg::Text(row, 1);
    run.Warning("pooler", "source",
                "a connection pooler or proxy stands between target and source: the snapshot and "
                "the change stream need connections of their own",
                "-- give the address of the server itself" +
                    (host.empty() ? std::string()
                                  : ", as it says: host=" + host + " port=" + pg::Text(row, 2)));
}

void
CheckDecodingMemory(PreflightRun &run) {
    const pg::SqlResult found = run.source.Query(
        "SELECT setting, pg_catalog.current_setting(name) FROM pg_catalog.pg_settings"
        " WHERE name = 'logical_decoding_work_mem'");
    if (found.rows.empty()) {
        return; // before 13: a fixed number of changes
    }
    const std::string text = "logical_decoding_work_mem is " + pg::Text(found.rows[0], 1);
    if (pg::Number<int64_t>(found.rows[0], 0) >= kLeastDecodingMemoryKb) {
        run.Ok("decoding_memory", "source", text);
        return;
    }
    run.Warning("decoding_memory", "source",
                text + ": larger transactions are written to the source's disk to be decoded",
                "ALTER ROLE " + QuoteIdentifier(run.info().role) +
                    " SET logical_decoding_work_mem = '64MB';");
}

// While the snapshot and the slot are held, vacuum freezes nothing newer than they are.
void
CheckTransactionAge(PreflightRun &run) {
    const pg::SqlResult found = run.source.Query(
        "SELECT pg_catalog.age(datfrozenxid),"
        " pg_catalog.current_setting('autovacuum_freeze_max_age')"
        " FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()");
    const auto age = pg::Number<int64_t>(found.rows.at(0), 0);
    const auto limit = pg::Number<int64_t>(found.rows[0], 1);
    const std::string database = QuoteIdentifier(run.info().database);
    const std::string text = "the oldest transaction number in use is " + std::to_string(age) +
                             " transactions old, autovacuum_freeze_max_age is " +
                             std::to_string(limit);
    if (age <= 2 * limit) {
        run.Ok("transaction_age", database, text);
    } else {
        run.Warning("transaction_age", database,
                    text + ": the slot holds vacuum back for as long as the migration lasts, and "
                           "the source stops before it runs out of numbers",
                    "VACUUM (FREEZE);");
    }
}

// pg_cron's table of jobs is dumped with its rows, so that they would run on both sides.
void
CheckJobs(PreflightRun &run) {
    const pg::SqlResult table = run.source.Query(
        "SELECT pg_catalog.to_regclass('cron.job') IS NOT NULL AND"
        " pg_catalog.has_table_privilege(pg_catalog.to_regclass('cron.job')::oid, 'SELECT')");
    const pg::SqlResult here =
        pg::Query("SELECT COALESCE(pg_catalog.current_setting('cron.launch_active_jobs', true),"
                  " 'off') IN ('on', 'true', 'yes', '1')");
    if (table.rows.at(0).at(0) != "t") {
        return;
    }
    if (!pg::Flag(here.rows.at(0), 0)) {
        run.Ok("scheduled_jobs", "\"cron\".\"job\"", "pg_cron launches no job on the target");
        return;
    }
    const pg::SqlResult jobs =
        run.source.Query("SELECT pg_catalog.count(*) FROM cron.job WHERE active");
    const auto count = pg::Number<size_t>(jobs.rows.at(0), 0);
    if (count == 0) {
        run.Ok("scheduled_jobs", "\"cron\".\"job\"", "no job of pg_cron is active on the source");
        return;
    }
    run.Warning("scheduled_jobs", "\"cron\".\"job\"",
                Count(count, "active job") +
                    " of pg_cron would run on source and target as soon as the table is copied",
                "ALTER SYSTEM SET cron.launch_active_jobs = off; -- on the target\n"
                "SELECT pg_reload_conf();\n" +
                    Comment("when applications use the target: ALTER SYSTEM RESET "
                            "cron.launch_active_jobs;"));
}

constexpr char kListFiring[] = R"sql(
SELECT n.nspname, c.relname, f.word, f.name
FROM (SELECT tgrelid AS relid, 'trigger' AS word, tgname AS name FROM pg_catalog.pg_trigger
      WHERE tgenabled IN ('A', 'R') AND NOT tgisinternal
      UNION ALL
      SELECT ev_class, 'rule', rulename FROM pg_catalog.pg_rewrite WHERE ev_enabled IN ('A', 'R')) f
JOIN pg_catalog.pg_class c ON c.oid = f.relid AND c.relkind IN ('r', 'p')
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
ORDER BY 1, 2, 3 DESC, 4
)sql";

// Apply runs as a replica, which ordinary triggers and rules take no notice of. What these do has
// been done on the source and arrives from there. Where the tables are on the target already, they
// have its triggers, not the source's.
void
CheckTriggers(PreflightRun &run) {
    const bool creates = run.CreatesSchema();
    const pg::SqlResult found = creates ? run.source.Query(kListFiring) : pg::Query(kListFiring);
    std::set<std::pair<std::string, std::string>> selected;
    for (const source::SourceTable &table : run.result.tables) {
        selected.emplace(table.schema, table.name);
    }
    bool any = false;
    for (const pg::SqlRow &row : found.rows) {
        if (!selected.contains({pg::Text(row, 0), pg::Text(row, 1)})) {
            continue;
        }
        any = true;
        const std::string table = QualifiedName(pg::Text(row, 0), pg::Text(row, 1));
        const std::string word = pg::Text(row, 2);
        const std::string name = QuoteIdentifier(pg::Text(row, 3));
        run.Warning("firing_triggers", table,
                    word + " " + name + " of table " + table + (creates ? "" : " of the target") +
                        " fires while changes are applied, too: what it does is done twice",
                    "ALTER TABLE " + table + " ENABLE " + (word == "rule" ? "RULE " : "TRIGGER ") +
                        name + ";" + (creates ? "" : " -- on the target"));
    }
    if (!any) {
        run.Ok("firing_triggers", creates ? "source" : "target",
               "no trigger fires while changes are applied");
    }
}

} // namespace

void
CheckOperation(PreflightRun &run) {
    CheckPooler(run);
    CheckDecodingMemory(run);
    CheckTransactionAge(run);
    CheckJobs(run);
    CheckTriggers(run);
    CheckTimeouts(run);
}

} // namespace livemigrate::stage
