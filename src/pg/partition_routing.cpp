#include "pg/partition_routing.hpp"

#include "pg/guard.hpp"

extern "C" {
#include "catalog/partition.h"
#include "utils/partcache.h"
}

namespace livemigrate::pg {

namespace {

// C-like: runs under the guard.
bool
HashesEnum(Oid relid) {
    Relation relation = table_open(relid, AccessShareLock);
    const PartitionKey key = RelationGetPartitionKey(relation);
    bool found = false;
    if (key != nullptr && key->strategy == PARTITION_STRATEGY_HASH) {
        for (int i = 0; i < key->partnatts; i++) {
            found = found || type_is_enum(getBaseType(key->parttypid[i]));
        }
    }
    table_close(relation, NoLock);
    return found;
}

} // namespace

Oid
RoutingRelation(Oid relid) {
    return Call([&]() -> Oid {
        if (!get_rel_relispartition(relid)) {
            return relid;
        }
        bool is_routed = false;
        Oid top = relid;
        const List *ancestors = get_partition_ancestors(relid);
        const ListCell *cell = nullptr;
        foreach (cell, ancestors) {
            top = lfirst_oid(cell);
            is_routed = is_routed || HashesEnum(top);
        }
        return is_routed ? top : relid;
    });
}

} // namespace livemigrate::pg
