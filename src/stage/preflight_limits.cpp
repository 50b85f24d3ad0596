// Checks of what the source has only so much of: slots, senders, connections, locks, patience.
#include "pg/prelude.hpp"

#include "stage/preflight_run.hpp"

#include "core/blocker_text.hpp"
#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

#include <algorithm>

namespace livemigrate::stage {

namespace {

// Spare room that a proposed setting leaves above what is in use.
constexpr int kSpare = 4;

// A snapshot session, one for the catalogs, pg_dump, and one to repair things.
constexpr int kConnectionsBesidesCopy = 4;

void
CheckSlots(PreflightRun &run) {
    const source::SourceInfo &info = run.info();
    const int needed = run.settings.existing_slot ? 0 : 1;
    const std::string usage = std::to_string(info.used_replication_slots) + " of " +
                              std::to_string(info.max_replication_slots) +
                              " replication slots of the source are in use";
    if (info.max_replication_slots - info.used_replication_slots >= needed) {
        run.Ok("replication_slots", "source", usage);
        return;
    }
    std::vector<std::string> others;
    const pg::SqlResult idle =
        run.source.Query("SELECT slot_name FROM pg_catalog.pg_replication_slots WHERE NOT active"
                         " ORDER BY slot_name LIMIT 5");
    for (const pg::SqlRow &row : idle.rows) {
        others.push_back("SELECT pg_drop_replication_slot(" + QuoteLiteral(pg::Text(row, 0)) +
                         "); -- inactive now");
    }
    run.Fail("replication_slots", sqlstate::kConfigurationLimitExceeded, "source",
             "the source has no free replication slot: " + usage,
             Choices(run.ways.SetWithRestart("max_replication_slots",
                                             std::to_string(info.used_replication_slots + kSpare)),
                     others));
}

void
CheckSenders(PreflightRun &run) {
    const source::SourceInfo &info = run.info();
    const std::string usage = std::to_string(info.used_wal_senders) + " of " +
                              std::to_string(info.max_wal_senders) +
                              " WAL senders of the source are in use";
    if (info.max_wal_senders > info.used_wal_senders) {
        run.Ok("wal_senders", "source", usage);
        return;
    }
    run.Fail(
        "wal_senders", sqlstate::kConfigurationLimitExceeded, "source",
        "the source has no free WAL sender: " + usage,
        run.ways.SetWithRestart("max_wal_senders", std::to_string(info.used_wal_senders + kSpare)));
}

// Superusers have no limits of their own.
bool
CheckOwnLimits(PreflightRun &run, int needed) {
    const pg::SqlResult found = run.source.Query(
        "SELECT r.rolconnlimit, d.datconnlimit,"
        "       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity a"
        "        WHERE a.usename = r.rolname AND a.pid <> pg_catalog.pg_backend_pid()),"
        "       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity a"
        "        WHERE a.datname = d.datname AND a.pid <> pg_catalog.pg_backend_pid())"
        " FROM pg_catalog.pg_roles r CROSS JOIN pg_catalog.pg_database d"
        " WHERE r.rolname = current_user AND d.datname = pg_catalog.current_database()"
        "   AND NOT r.rolsuper");
    if (found.rows.empty()) {
        return true;
    }
    const pg::SqlRow &row = found.rows[0];
    const std::string names[] = {"role " + QuoteIdentifier(run.info().role),
                                 "database " + QuoteIdentifier(run.info().database)};
    bool enough = true;
    for (size_t i = 0; i < 2; i++) {
        const int limit = pg::Number<int>(row, i);
        const int others = pg::Number<int>(row, i + 2);
        if (limit < 0 || limit - others >= needed) {
            continue;
        }
        enough = false;
        run.Warning("source_connections", names[i],
                    std::to_string(needed) + " connections to the source are needed, " + names[i] +
                        " may have " + std::to_string(limit) + " and has " + std::to_string(others),
                    std::string(i == 0 ? "ALTER ROLE " : "ALTER DATABASE ") +
                        QuoteIdentifier(i == 0 ? run.info().role : run.info().database) +
                        " CONNECTION LIMIT " + std::to_string(others + needed + kSpare) + ";");
    }
    return enough;
}

void
CheckConnections(PreflightRun &run) {
    const int needed = run.settings.table_jobs + kConnectionsBesidesCopy;
    const bool enough = CheckOwnLimits(run, needed);
    const int free = std::max(run.info().free_connections, 0);
    const std::string text = std::to_string(needed) + " connections to the source are needed, " +
                             std::to_string(free) + " are free";
    if (free >= needed) {
        if (enough) {
            run.Ok("source_connections", "source", text);
        }
        return;
    }
    const int limit = pg::Number<int>(
        run.source.Query("SELECT pg_catalog.current_setting('max_connections')").rows.at(0), 0);
    std::vector<std::string> others;
    if (free > kConnectionsBesidesCopy) {
        others = {"migration_start(..., table_jobs => " +
                  std::to_string(free - kConnectionsBesidesCopy) + ")"};
    }
    run.Warning("source_connections", "source", text,
                Choices(run.ways.SetWithRestart("max_connections",
                                                std::to_string(limit + needed - free + kSpare)),
                        others));
}

// Every table is locked in ACCESS SHARE from the slot until its rows are copied.
void
CheckLocks(PreflightRun &run) {
    const auto tables = static_cast<int64_t>(run.result.tables.size());
    const int64_t capacity = std::max<int64_t>(run.info().lock_table_size, 1);
    const int64_t wanted = run.info().max_locks_per_transaction * (2 * tables / capacity + 1);
    const std::string text = "the source's lock table holds about " + std::to_string(capacity) +
                             " locks; the migration holds one on each of " +
                             std::to_string(tables) + " tables";
    const std::string fix =
        run.ways.SetWithRestart("max_locks_per_transaction", std::to_string(wanted));
    if (tables > capacity) {
        run.Fail("source_locks", sqlstate::kConfigurationLimitExceeded, "source", text, fix);
    } else if (2 * tables > capacity) {
        run.Warning("source_locks", "source", text, fix);
    } else {
        run.Ok("source_locks", "source", text);
    }
}

void
CheckPatience(PreflightRun &run) {
    const source::SourceInfo &info = run.info();
    const std::string &idle = info.idle_replication_slot_timeout;
    if (!idle.empty() && idle != "0") {
        run.Warning("slot_idle_timeout", "source",
                    "idle_replication_slot_timeout is " + idle +
                        ": a migration paused for longer has to start again",
                    run.ways.Set("idle_replication_slot_timeout", "0"));
    }
    if (!info.old_snapshot_threshold.empty() && info.old_snapshot_threshold != "-1") {
        run.Fail("old_snapshot_threshold", sqlstate::kObjectNotInPrerequisiteState, "source",
                 "old_snapshot_threshold of the source is " + info.old_snapshot_threshold +
                     ": a copy that takes longer fails",
                 run.ways.SetWithRestart("old_snapshot_threshold", "-1"));
    }
}

void
ReportPreparedTransactions(PreflightRun &run) {
    const pg::SqlResult found =
        run.source.Query("SELECT gid, database, owner, prepared::text"
                         " FROM pg_catalog.pg_prepared_xacts ORDER BY prepared LIMIT 10");
    for (const pg::SqlRow &row : found.rows) {
        const PreparedTransaction one{pg::Text(row, 0), pg::Text(row, 1), pg::Text(row, 2),
                                      pg::Text(row, 3)};
        const std::string gid = QuoteLiteral(one.gid);
        run.Warning("prepared_transactions", gid,
                    "prepared transaction " + gid + " in database " +
                        QuoteIdentifier(one.database) + " is open since " + one.since +
                        ": the slot is created when it has ended",
                    Comment(WherePreparedEnds(one) + ":") + "\n" +
                        Choices(CommitPrepared(one), {RollbackPrepared(one)}));
    }
    if (found.rows.empty()) {
        run.Ok("prepared_transactions", "source", "no prepared transaction is open");
    }
}

} // namespace

void
CheckSourceLimits(PreflightRun &run) {
    CheckSlots(run);
    CheckSenders(run);
    CheckConnections(run);
    CheckLocks(run);
    CheckPatience(run);
}

// Creating a slot waits for every transaction with an xid, in any database of the source. Since
// when those of other roles are open is shown to members of pg_read_all_stats only.
void
CheckOpenTransactions(PreflightRun &run) {
    ReportPreparedTransactions(run);
    const pg::SqlResult found = run.source.Query(
        "SELECT pid, COALESCE(usename::text, ''), COALESCE(datname::text, ''),"
        "       pg_catalog.date_trunc('second', pg_catalog.now() - xact_start)::text"
        " FROM pg_catalog.pg_stat_activity"
        " WHERE backend_xid IS NOT NULL AND pid <> pg_catalog.pg_backend_pid()"
        "   AND xact_start < pg_catalog.now() - '1 minute'::interval"
        " ORDER BY xact_start LIMIT 10");
    for (const pg::SqlRow &row : found.rows) {
        const std::string pid = pg::Text(row, 0);
        run.Warning("long_transactions", "process " + pid,
                    "a transaction of role " + QuoteIdentifier(pg::Text(row, 1)) + " in database " +
                        QuoteIdentifier(pg::Text(row, 2)) + ", process " + pid + ", is open for " +
                        pg::Text(row, 3) + ": the slot is created when it has ended",
                    "SELECT pg_terminate_backend(" + pid + ");");
    }
    const pg::SqlRow hidden =
        run.source
            .Query("SELECT pg_catalog.count(*), pg_catalog.quote_ident(current_user)"
                   " FROM pg_catalog.pg_stat_activity"
                   " WHERE backend_xid IS NOT NULL AND xact_start IS NULL")
            .rows.at(0);
    if (const auto count = pg::Number<size_t>(hidden, 0); count > 0) {
        run.Notice("long_transactions", "source",
                   "since when " + Count(count, "writing transaction") +
                       (count == 1 ? " is" : " are") + " open is not shown to role " +
                       pg::Text(hidden, 1) + ": the slot is created when they have ended",
                   "GRANT pg_read_all_stats TO " + pg::Text(hidden, 1) + ";");
    } else if (found.rows.empty()) {
        run.Ok("long_transactions", "source", "no writing transaction is open for over a minute");
    }
}

} // namespace livemigrate::stage
