#include "pg/replica_role.hpp"

extern "C" {
#include "commands/trigger.h"
#include "rewrite/prs2lock.h"
#include "rewrite/rewriteDefine.h"
}

namespace livemigrate::pg {

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

} // namespace livemigrate::pg
