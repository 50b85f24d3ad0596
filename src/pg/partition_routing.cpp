#include "pg/partition_routing.hpp"

#include "pg/guard.hpp"
#include "pg/spi.hpp"

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

std::vector<std::pair<std::string, std::string>>
LeafPartitions(Oid root) {
    const SqlResult leaves =
        Query("SELECT n.nspname, c.relname FROM pg_catalog.pg_partition_tree($1::oid::regclass) t "
              "JOIN pg_catalog.pg_class c ON c.oid = t.relid "
              "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE t.isleaf",
              {std::to_string(root)});
    std::vector<std::pair<std::string, std::string>> names;
    for (const auto &row : leaves.rows) {
        names.emplace_back(row.at(0).value(), row.at(1).value());
    }
    return names;
}

} // namespace livemigrate::pg
