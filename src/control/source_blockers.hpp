// Which sessions of the source keep the coordinator waiting there.
#pragma once

#include "source/connection.hpp"

#include <chrono>
#include <string>

namespace livemigrate::control {

// Behind pg_locks AS l, a lock that is waited for: the prepared transactions p that hold it, of
// which pg_blocking_pids() says 0 only.
inline constexpr char kJoinPreparedHolders[] =
    " JOIN pg_catalog.pg_locks g ON g.granted AND g.pid IS NULL AND g.locktype = l.locktype"
    " AND (g.database, g.relation, g.transactionid, g.classid, g.objid, g.objsubid)"
    " IS NOT DISTINCT FROM"
    " (l.database, l.relation, l.transactionid, l.classid, l.objid, l.objsubid)"
    " JOIN pg_catalog.pg_locks x ON x.locktype = 'transactionid' AND x.granted AND x.pid IS NULL"
    " AND x.virtualtransaction = g.virtualtransaction"
    " JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = x.transactionid ";

// For one look at who keeps a statement waiting.
inline constexpr std::chrono::seconds kMostLookTime{5};

struct SourceBlockers {
    std::string who;     // ": process 4711 (app, since 00:02:10), ..."; empty if nobody is found
    std::string command; // " On the source: SELECT pg_terminate_backend(4711);"; for the first
    int32_t pid = 0;     // of the first; 0 if that is a prepared transaction
};

// Those that were running when a slot was asked for: creating it waits for them.
SourceBlockers FindBlockers(source::Connection &monitor, const source::WaitObserver &observer = {});

// Those that hold, or wait before us for, a lock for which any session of ours waits in the
// database.
SourceBlockers FindHoldersOfOurLocks(source::Connection &monitor,
                                     const source::WaitObserver &observer = {});

// The same of one session of the source.
SourceBlockers FindLockHolders(source::Connection &monitor, int waiting_pid,
                               const source::WaitObserver &observer = {});

} // namespace livemigrate::control
