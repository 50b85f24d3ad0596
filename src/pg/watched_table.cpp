#include "pg/watched_table.hpp"

#include "pg/guard.hpp"
#include "pg/spi.hpp"

extern "C" {
#include "catalog/dependency.h"
#include "catalog/pg_am.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "commands/extension.h"
}

namespace livemigrate::pg {

namespace {

bool
HasExtensionTriggers(Relation relation) {
    const TriggerDesc *triggers = relation->trigdesc;
    for (int i = 0; triggers != nullptr && i < triggers->numtriggers; i++) {
        const Trigger &trigger = triggers->triggers[i];
        if (OidIsValid(getExtensionOfObject(ProcedureRelationId, trigger.tgfoid)) ||
            getAutoExtensionsOfObject(TriggerRelationId, trigger.tgoid) != NIL) {
            return true;
        }
    }
    return false;
}

// The same of a partitioned table and all of its partitions, which may be more than a transaction
// could lock.
constexpr char kIsPartitionWatched[] = R"sql(
WITH RECURSIVE below AS (
    SELECT $1::oid AS relid
    UNION ALL
    SELECT i.inhrelid FROM below b JOIN pg_catalog.pg_inherits i ON i.inhparent = b.relid),
extension AS (
    SELECT classid, objid, deptype FROM pg_catalog.pg_depend
    WHERE refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass)
SELECT EXISTS (
    SELECT FROM below b
    JOIN pg_catalog.pg_class c ON c.oid = b.relid
    LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam
    WHERE c.relkind = 'r' AND a.amname <> 'heap'
       OR EXISTS (SELECT FROM extension e
                  WHERE e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                    AND e.objid = c.oid AND e.deptype = 'e'))
    OR EXISTS (
    SELECT FROM below b
    JOIN pg_catalog.pg_trigger t ON t.tgrelid = b.relid
    JOIN extension e
      ON e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND e.objid = t.tgfoid
         AND e.deptype = 'e'
      OR e.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND e.objid = t.oid
         AND e.deptype = 'x')
)sql";

} // namespace

bool
IsWatched(Relation relation) {
    const Form_pg_class form = relation->rd_rel;
    return (form->relkind == RELKIND_RELATION && form->relam != HEAP_TABLE_AM_OID) ||
           HasExtensionTriggers(relation) ||
           OidIsValid(getExtensionOfObject(RelationRelationId, relation->rd_id));
}

bool
IsWatched(Oid relid) {
    const bool is_partitioned =
        Call([relid] { return get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE; });
    if (is_partitioned) {
        return Query(kIsPartitionWatched, {std::to_string(relid)}).Scalar() == "t";
    }
    return Call([relid] {
        Relation relation = relation_open(relid, AccessShareLock);
        const bool is_watched = IsWatched(relation);
        relation_close(relation, NoLock);
        return is_watched;
    });
}

} // namespace livemigrate::pg
