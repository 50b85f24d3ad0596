#include "pg/prelude.hpp"

#include "api/lock_wait.hpp"

#include "control/source_blockers.hpp"
#include "core/sql_text.hpp"
#include "pg/spi.hpp"
#include "pg/sql_row.hpp"

namespace livemigrate::api {

std::optional<LockWait>
FindLockWait(int32_t migration) {
    // The lock manager is asked about those only that pg_stat_activity shows waiting.
    const pg::SqlResult found = pg::Query(
        "WITH worker AS (SELECT kind, pid FROM livemigrate.live_workers($1::int)) "
        "SELECT w.kind, w.pid, b.pid, COALESCE(h.usename::text, h.backend_type, ''), "
        "  pg_catalog.date_trunc('second', pg_catalog.clock_timestamp() - h.xact_start)::text, "
        "  CASE WHEN b.pid = 0 THEN (SELECT p.gid FROM pg_catalog.pg_locks l" +
            std::string(control::kJoinPreparedHolders) +
            "    WHERE l.pid = w.pid AND NOT l.granted LIMIT 1) END "
            "FROM worker w JOIN pg_catalog.pg_stat_activity a ON a.pid = w.pid "
            "CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(w.pid)) AS b(pid) "
            "LEFT JOIN pg_catalog.pg_stat_activity h ON h.pid = b.pid "
            "WHERE a.wait_event_type = 'Lock' "
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
    if (holder == "0") { // so pg_blocking_pids() calls prepared transactions
        const std::string gid = row[5] ? QuoteLiteral(*row[5]) : "'...'";
        return LockWait{who + "prepared transaction " + gid + " holds on the target",
                        "COMMIT PREPARED " + gid + "; -- on the target, or: ROLLBACK PREPARED " +
                            gid + ";"};
    }
    return LockWait{who + "process " + holder + " (" + pg::Text(row, 3) + ", since " +
                        pg::Text(row, 4) + ") holds on the target",
                    "SELECT pg_terminate_backend(" + holder +
                        "); -- on the target, unless that session ends by itself"};
}

} // namespace livemigrate::api
