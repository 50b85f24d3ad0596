#pragma once

#include "pg/prelude.hpp"

namespace livemigrate::pg {

// Whether a trigger or rule of the table fires under session_replication_role = replica: one that
// somebody has made ENABLE ALWAYS or ENABLE REPLICA. C-like. REQUIRES: the relation is locked.
bool FiresInReplicaRole(Relation relation);

} // namespace livemigrate::pg
