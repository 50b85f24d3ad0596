#include "pg/replica_role.hpp"

#include "pg/guard.hpp"
#include "pg/spi.hpp"

extern "C" {
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "rewrite/prs2lock.h"
#include "rewrite/rewriteDefine.h"
}

namespace livemigrate::pg {

namespace {

// Of a partitioned table's trigger its partitions have clones, which go with it.
constexpr char kRowFilters[] = R"sql(
WITH RECURSIVE below AS (
    SELECT $1::oid AS relid
    UNION ALL
    SELECT c.oid FROM below b JOIN pg_catalog.pg_inherits i ON i.inhparent = b.relid
    JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition),
filter AS (
    SELECT t.tgrelid AS relid, t.tgenabled AS enabled, 'TRIGGER' AS kind, t.tgname AS name
    FROM pg_catalog.pg_trigger t JOIN below b ON b.relid = t.tgrelid
    WHERE t.tgenabled IN ('A', 'R') AND t.tgtype & $2::int = $2::int
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger p JOIN below o ON o.relid = p.tgrelid
                      WHERE p.oid = t.tgparentid)
    UNION ALL
    SELECT r.ev_class, r.ev_enabled, 'RULE', r.rulename
    FROM pg_catalog.pg_rewrite r
    WHERE r.ev_class = $1::oid AND r.ev_enabled IN ('A', 'R') AND r.is_instead
      AND r.ev_type = $3)
SELECT pg_catalog.string_agg(
    pg_catalog.format('ALTER TABLE %I.%I %s %s %I;', n.nspname, c.relname,
                      CASE f.enabled WHEN 'A' THEN 'ENABLE' ELSE 'DISABLE' END, f.kind, f.name),
    ' ' ORDER BY n.nspname, c.relname, f.kind DESC, f.name)
FROM filter f JOIN pg_catalog.pg_class c ON c.oid = f.relid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
)sql";

constexpr char kPartitionsFire[] = R"sql(
WITH RECURSIVE below AS (
    SELECT $1::oid AS relid
    UNION ALL
    SELECT c.oid FROM below b JOIN pg_catalog.pg_inherits i ON i.inhparent = b.relid
    JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition)
SELECT EXISTS (SELECT FROM below b JOIN pg_catalog.pg_trigger t ON t.tgrelid = b.relid
               WHERE t.tgenabled IN ('A', 'R'))
)sql";

int
TriggerType(CmdType command) {
    switch (command) {
    case CMD_INSERT:
        return TRIGGER_TYPE_INSERT;
    case CMD_UPDATE:
        return TRIGGER_TYPE_UPDATE;
    default:
        return TRIGGER_TYPE_DELETE;
    }
}

} // namespace

bool
FiresInReplicaRole(Relation relation) {
    const TriggerDesc *triggers = relation->trigdesc;
    for (int i = 0; triggers != nullptr && i < triggers->numtriggers; i++) {
        const char enabled = triggers->triggers[i].tgenabled;
        if (enabled == TRIGGER_FIRES_ALWAYS || enabled == TRIGGER_FIRES_ON_REPLICA) {
            return true;
        }
    }
    const RuleLock *rules = relation->rd_rules;
    for (int i = 0; rules != nullptr && i < rules->numLocks; i++) {
        const char enabled = rules->rules[i]->enabled;
        if (enabled == RULE_FIRES_ALWAYS || enabled == RULE_FIRES_ON_REPLICA) {
            return true;
        }
    }
    return false;
}

bool
PartitionsFireInReplicaRole(Oid relid) {
    return Query(kPartitionsFire, {std::to_string(relid)}).Scalar() == "t";
}

std::string
SilenceRowFilters(Oid relid, CmdType command) {
    const int type = TRIGGER_TYPE_ROW | TRIGGER_TYPE_BEFORE | TriggerType(command);
    return Query(kRowFilters, {std::to_string(relid), std::to_string(type),
                               std::to_string(static_cast<int>(command))})
        .Scalar()
        .value_or("");
}

void
FireDeferredTriggers() {
    Call([] { AfterTriggerFireDeferred(); });
}

} // namespace livemigrate::pg
