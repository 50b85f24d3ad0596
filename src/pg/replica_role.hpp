#pragma once

#include "pg/prelude.hpp"

#include <string>

namespace livemigrate::pg {

// Whether a trigger or rule of the table fires under session_replication_role = replica: one that
// somebody has made ENABLE ALWAYS or ENABLE REPLICA. C-like. REQUIRES: the relation is locked.
bool FiresInReplicaRole(Relation relation);

// The same of the partitions of a partitioned table, each with triggers of its own. REQUIRES: an
// open transaction.
bool PartitionsFireInReplicaRole(Oid relid);

// What can leave rows out, without an error, of those that a command writes in replica role: BEFORE
// triggers for each row, also of partitions, and INSTEAD rules. The statements after which none of
// them fires there; empty where there are none. REQUIRES: an open transaction.
std::string SilenceRowFilters(Oid relid, CmdType command);

// Fires now what waits for the transaction's end: deferred triggers. Costs nothing where there is
// nothing. REQUIRES: an open transaction, and in it no subtransaction and no running statement.
void FireDeferredTriggers();

} // namespace livemigrate::pg
