// Whether the source has replayed WAL of its own since it was last looked at.
#pragma once

namespace livemigrate::source {

// An SQL expression. While it stays the same the source has not recovered from a crash, nor been
// promoted: recovery begins the cumulative statistics anew, of which the moment is kept. NULL on a
// standby, which replays always. Another value proves nothing: somebody may have reset them.
inline constexpr char kRecoveryMark[] =
    "CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN "
    "pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8) || ' ' || "
    "(SELECT g.stats_reset::text FROM pg_catalog.pg_stat_bgwriter g) END";

} // namespace livemigrate::source
