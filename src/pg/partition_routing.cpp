#include "pg/partition_routing.hpp"

#include "pg/guard.hpp"
#include "pg/spi.hpp"
#include "pg/table_manager.hpp"

extern "C" {
#include "catalog/dependency.h"
#include "catalog/partition.h"
#include "commands/extension.h"
#include "utils/partcache.h"
#include "utils/typcache.h"
}

namespace livemigrate::pg {

namespace {

bool IsHashedElsewhere(Oid type, Oid collation);

bool
HasSuchAttribute(Oid type) {
    TupleDesc attributes = lookup_rowtype_tupdesc(type, -1);
    bool found = false;
    for (int i = 0; i < attributes->natts; i++) {
        const Form_pg_attribute attribute = TupleDescAttr(attributes, i);
        found = found || (!attribute->attisdropped &&
                          IsHashedElsewhere(attribute->atttypid, attribute->attcollation));
    }
    ReleaseTupleDesc(attributes);
    return found;
}

bool
IsCitext(Oid type) {
    if (type < FirstNormalObjectId) {
        return false;
    }
    const Oid extension = getExtensionOfObject(TypeRelationId, type);
    return OidIsValid(extension) && extension == get_extension_oid("citext", true);
}

// Whether another server may have another hash of a value. Arrays, rows and ranges are hashed by
// what they are made of. The functions here are C-like: they run under the guard.
bool
IsHashedElsewhere(Oid type, Oid collation) {
    check_stack_depth();
    const Oid base = getBaseType(type);
    const Oid element = get_element_type(base);
    if (OidIsValid(element)) {
        return IsHashedElsewhere(element, collation);
    }
    switch (get_typtype(base)) {
    case TYPTYPE_ENUM:
        return true;
    case TYPTYPE_RANGE:
        return IsHashedElsewhere(get_range_subtype(base), get_range_collation(base));
    case TYPTYPE_MULTIRANGE:
        return IsHashedElsewhere(get_multirange_range(base), InvalidOid);
    case TYPTYPE_COMPOSITE:
        return HasSuchAttribute(base);
    default:
        return IsCitext(base) ||
               (OidIsValid(collation) && !get_collation_isdeterministic(collation));
    }
}

bool
IsHashedElsewhere(Oid relid) {
    Relation relation = table_open(relid, AccessShareLock);
    const PartitionKey key = RelationGetPartitionKey(relation);
    bool found = false;
    if (key != nullptr && key->strategy == PARTITION_STRATEGY_HASH) {
        for (int i = 0; i < key->partnatts; i++) {
            found = found || IsHashedElsewhere(key->parttypid[i], key->partcollation[i]);
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
            is_routed = is_routed || IsHashedElsewhere(top);
        }
        return is_routed ? top : relid;
    });
}

Oid
TopmostAncestor(Oid relid) {
    return Call([&]() -> Oid {
        const List *ancestors =
            get_rel_relispartition(relid) ? get_partition_ancestors(relid) : NIL;
        return ancestors == NIL ? relid : llast_oid(ancestors);
    });
}

bool
IsRouted(const std::string &schema, const std::string &table) {
    const Oid relid = FindTable(schema, table);
    return OidIsValid(relid) && RoutingRelation(relid) != relid;
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
