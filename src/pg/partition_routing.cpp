#include "pg/partition_routing.hpp"

#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/spi.hpp"
#include "pg/sql_row.hpp"

#include <algorithm>

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

std::vector<std::string>
LeafPartitions(Oid root) {
    const SqlResult leaves =
        Query("SELECT n.nspname, c.relname FROM pg_catalog.pg_partition_tree($1::oid::regclass) t "
              "JOIN pg_catalog.pg_class c ON c.oid = t.relid "
              "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE t.isleaf",
              {std::to_string(root)});
    std::vector<std::string> names;
    for (const auto &row : leaves.rows) {
        names.push_back(QualifiedName(row.at(0).value(), row.at(1).value()));
    }
    return names;
}

std::vector<Oid>
RootsOfWhole(const std::vector<Oid> &tables) {
    const bool any = Call([&] {
        return std::any_of(tables.begin(), tables.end(),
                           [](Oid table) { return get_rel_relispartition(table); });
    });
    if (!any) {
        return {};
    }
    std::vector<std::string> oids;
    for (const Oid table : tables) {
        oids.push_back(std::to_string(table));
    }
    const SqlResult found =
        Query("SELECT DISTINCT a.relid::oid FROM pg_catalog.unnest($1::oid[]) AS t (relid) "
              "CROSS JOIN LATERAL pg_catalog.pg_partition_ancestors(t.relid::regclass) a "
              "WHERE a.relid::oid <> ALL ($1::oid[]) AND NOT EXISTS ("
              "SELECT FROM pg_catalog.pg_partition_tree(a.relid) l "
              "WHERE l.isleaf AND l.relid::oid <> ALL ($1::oid[]))",
              {TextArrayLiteral(oids)});
    std::vector<Oid> roots;
    for (const auto &row : found.rows) {
        roots.push_back(Number<Oid>(row, 0));
    }
    return roots;
}

} // namespace livemigrate::pg
