#include "pg/prelude.hpp"

#include "control/source_blockers.hpp"

#include "core/blocker_text.hpp"
#include "pg/sql_row.hpp"

namespace livemigrate::control {

namespace {

void
Add(SourceBlockers &blockers, const std::string &who, const std::string &command, int32_t pid) {
    blockers.who += (blockers.who.empty() ? ": " : ", ") + who;
    if (blockers.command.empty()) {
        blockers.command = " On the source" + command;
        blockers.pid = pid;
    }
}

// Of pid, role, and how long its transaction is open: NULL for what a role without
// pg_read_all_stats is not shown.
void
AddSessions(SourceBlockers &blockers, const pg::SqlResult &sessions, const std::string &verb) {
    for (const pg::SqlRow &row : sessions.rows) {
        const std::string pid = pg::Text(row, 0);
        Add(blockers, verb + DescribeProcess(pid, pg::Text(row, 1), row.at(2)),
            ": SELECT pg_terminate_backend(" + pid + ");", pg::Number<int32_t>(row, 0));
    }
}

// Of gid, database, role, and how long it is prepared.
void
AddPrepared(SourceBlockers &blockers, const pg::SqlResult &prepared, const std::string &verb) {
    for (const pg::SqlRow &row : prepared.rows) {
        const PreparedTransaction one{pg::Text(row, 0), pg::Text(row, 1), pg::Text(row, 2),
                                      pg::Text(row, 3)};
        Add(blockers, verb + DescribePrepared(one),
            ", " + WherePreparedEnds(one) + ": " + CommitPrepared(one) + " or " +
                RollbackPrepared(one),
            0);
    }
}

} // namespace

SourceBlockers
FindBlockers(source::Connection &monitor, const source::WaitObserver &observer) {
    SourceBlockers blockers;
    AddSessions(blockers,
                monitor.Query("SELECT pid, usename, "
                              "pg_catalog.date_trunc('second', pg_catalog.now() - xact_start) "
                              "FROM pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL "
                              "AND pid <> pg_catalog.pg_backend_pid() ORDER BY xact_start LIMIT 3",
                              observer),
                "");
    AddPrepared(blockers,
                monitor.Query("SELECT gid, database, owner, "
                              "pg_catalog.date_trunc('second', pg_catalog.now() - prepared) "
                              "FROM pg_catalog.pg_prepared_xacts ORDER BY prepared LIMIT 3",
                              observer),
                "");
    return blockers;
}

namespace {

// `waiting` yields the pids of sessions that may wait.
SourceBlockers
HoldersFor(source::Connection &monitor, const std::string &waiting,
           const source::WaitObserver &observer) {
    SourceBlockers blockers;
    AddSessions(
        blockers,
        monitor.Query("SELECT DISTINCT b.pid, a.usename, "
                      "pg_catalog.date_trunc('second', pg_catalog.now() - a.xact_start) "
                      "FROM (" +
                          waiting +
                          ") AS w (pid) CROSS JOIN LATERAL "
                          "pg_catalog.unnest(pg_catalog.pg_blocking_pids(w.pid)) AS b (pid) "
                          "LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = b.pid "
                          "WHERE b.pid > 0 LIMIT 3",
                      observer),
        "held by ");
    AddPrepared(blockers,
                monitor.Query("SELECT DISTINCT p.gid, p.database, p.owner, "
                              "pg_catalog.date_trunc('second', pg_catalog.now() - p.prepared) "
                              "FROM (" +
                                  waiting +
                                  ") AS w (pid) "
                                  "JOIN pg_catalog.pg_locks l ON l.pid = w.pid AND NOT l.granted" +
                                  kJoinPreparedHolders + "LIMIT 3",
                              observer),
                "held by ");
    return blockers;
}

} // namespace

SourceBlockers
FindHoldersOfOurLocks(source::Connection &monitor, const source::WaitObserver &observer) {
    return HoldersFor(monitor,
                      "SELECT pid FROM pg_catalog.pg_stat_activity "
                      "WHERE application_name = 'livemigrate' AND wait_event_type = 'Lock' "
                      "AND datname = pg_catalog.current_database()",
                      observer);
}

SourceBlockers
FindLockHolders(source::Connection &monitor, int waiting_pid,
                const source::WaitObserver &observer) {
    return HoldersFor(monitor, "SELECT " + std::to_string(waiting_pid), observer);
}

} // namespace livemigrate::control
