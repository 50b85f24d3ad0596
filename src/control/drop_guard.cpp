#include "pg/prelude.hpp"

#include "control/drop_guard.hpp"

#include "pg/guard.hpp"
#include "pg/sql_row.hpp"

extern "C" {
#include "catalog/objectaccess.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
}

namespace livemigrate::control {

namespace {

object_access_hook_type next_hook = nullptr;

bool
IsOurExtension(Oid extension) {
    const char *name = get_extension_name(extension);
    return name != nullptr && strcmp(name, "livemigrate") == 0;
}

void
RefuseWhileMigrationsLive() {
    const pg::SqlResult left =
        pg::Query("SELECT name, state FROM livemigrate.migration WHERE cleaned_up_at IS NULL "
                  "ORDER BY id");
    if (left.rows.empty()) {
        return;
    }
    std::string names;
    for (const pg::SqlRow &row : left.rows) {
        names += (names.empty() ? "" : ", ") + pg::Text(row, 0) + " (" + pg::Text(row, 1) + ")";
    }
    throw Error(sqlstate::kObjectInUse,
                "cannot drop extension livemigrate: a migration is not cleaned up")
        .Detail("Left are: " + names + ". Their replication slots on the source would hold WAL "
                "back for ever.")
        .Hint("SELECT livemigrate.migration_abort(); or, if it is done: SELECT "
              "livemigrate.migration_cleanup();");
}

void
AtObjectAccess(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *argument) {
    if (next_hook != nullptr) {
        next_hook(access, class_id, object_id, sub_id, argument);
    }
    if (access == OAT_DROP && class_id == ExtensionRelationId && IsOurExtension(object_id)) {
        pg::Entry(RefuseWhileMigrationsLive);
    }
}

} // namespace

void
InstallDropGuard() {
    next_hook = object_access_hook;
    object_access_hook = AtObjectAccess;
}

} // namespace livemigrate::control
