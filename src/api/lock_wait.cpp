#include "pg/prelude.hpp"

#include "api/lock_wait.hpp"

#include "control/source_blockers.hpp"
#include "core/blocker_text.hpp"
#include "pg/spi.hpp"
#include "pg/sql_row.hpp"

namespace livemigrate::api {

std::optional<LockWait>
FindLockWait(int32_t migration) {
    // The lock manager is asked about those only that pg_stat_activity shows waiting, or shows
    // nothing of: to a role that is neither theirs nor a member of pg_read_all_stats.
    const pg::SqlResult found = pg::Query(
        "WITH worker AS (SELECT kind, pid FROM livemigrate.live_workers($1::int)) "
        "SELECT w.kind, w.pid, b.pid, COALESCE(h.usename::text, h.backend_type, ''), "
        "  pg_catalog.date_trunc('second', pg_catalog.clock_timestamp() - h.xact_start)::text, "
        "  p.gid, p.database, p.owner, p.since::text "
        "FROM worker w JOIN pg_catalog.pg_stat_activity a ON a.pid = w.pid "
        "CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(w.pid)) AS b(pid) "
        "LEFT JOIN pg_catalog.pg_stat_activity h ON h.pid = b.pid "
        "LEFT JOIN LATERAL (SELECT p.gid, p.database, p.owner, "
        "  pg_catalog.date_trunc('second', pg_catalog.clock_timestamp() - p.prepared) AS since "
        "  FROM pg_catalog.pg_locks l" +
            std::string(control::kJoinPreparedHolders) +
            "  WHERE b.pid = 0 AND l.pid = w.pid AND NOT l.granted LIMIT 1) AS p ON true "
            "WHERE (a.wait_event_type = 'Lock' OR a.backend_type IS NULL) "
            "  AND NOT EXISTS (SELECT FROM worker o WHERE o.pid = b.pid) "
            "ORDER BY h.xact_start LIMIT 1",
        {std::to_string(migration)});
    if (found.rows.empty()) {
        return std::nullopt;
    }
    const pg::SqlRow &row = found.rows[0];
    const std::string holder = pg::Text(row, 2);
    const std::string who = pg::Text(row, 0) +
                            (pg::Text(row, 0) == "coordinator" ? "" : " worker") + ", process " +
                            pg::Text(row, 1) + ", waits for a lock that ";
    if (row[5]) {
        const PreparedTransaction one{*row[5], pg::Text(row, 6), pg::Text(row, 7),
                                      pg::Text(row, 8)};
        return LockWait{who + DescribePrepared(one) + " holds on the target",
                        CommitPrepared(one) + " -- on the target, " + WherePreparedEnds(one) +
                            ", or: " + RollbackPrepared(one)};
    }
    if (holder == "0") { // so pg_blocking_pids() calls prepared transactions: it has just ended
        return std::nullopt;
    }
    return LockWait{who + DescribeProcess(holder, pg::Text(row, 3), row[4]) +
                        " holds on the target",
                    "SELECT pg_terminate_backend(" + holder +
                        "); -- on the target, unless that session ends by itself"};
}

} // namespace livemigrate::api
