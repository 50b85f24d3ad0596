#include "pg/prelude.hpp"

#include "control/drop_guard.hpp"

#include "control/work_directory.hpp"
#include "core/migration_state.hpp"
#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/sql_row.hpp"

#include <algorithm>

extern "C" {
#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
}

namespace livemigrate::control {

namespace {

object_access_hook_type next_hook = nullptr;

// What this transaction drops: its migrations' files go when it commits.
Oid dropped_database = InvalidOid;

// The extension's own turn comes last, when its tables are gone: look at the table instead.
bool
IsMigrationTable(Oid relation) {
    const char *name = get_rel_name(relation);
    if (name == nullptr || strcmp(name, "migration") != 0) {
        return false;
    }
    const char *schema = get_namespace_name(get_rel_namespace(relation));
    return schema != nullptr && strcmp(schema, "livemigrate") == 0;
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
    std::string calls;
    for (const pg::SqlRow &row : left.rows) {
        const std::string name = pg::Text(row, 0);
        const std::string state = pg::Text(row, 1);
        names += (names.empty() ? "" : ", ") + name + " (" + state + ")";
        calls +=
            (calls.empty() ? "SELECT livemigrate." : " SELECT livemigrate.") +
            std::string(HasEnded(ParseState(state)) ? "migration_cleanup(" : "migration_abort(") +
            QuoteLiteral(name) + ");";
    }
    throw Error(sqlstate::kObjectInUse,
                "cannot drop extension livemigrate: a migration is not cleaned up")
        .Detail("Left are: " + names +
                ". Their replication slots on the source would hold WAL "
                "back for ever.")
        .Hint(calls);
}

// Its migrations would be gone and their slots stay. Of another database only the directories are
// to be seen. Where processes of ours are at work there, PostgreSQL refuses by itself, or is told
// to go on (FORCE).
void
RefuseDatabaseWithMigrations(Oid database) {
    const std::vector<UnfinishedMigration> all = ListWorkDirectories();
    if (std::none_of(all.begin(), all.end(), [database](const UnfinishedMigration &migration) {
            return migration.database == database;
        })) {
        return;
    }
    if (pg::Query("SELECT FROM pg_catalog.pg_stat_activity WHERE datid = $1::oid "
                  "AND backend_type ~ '^livemigrate' LIMIT 1",
                  {std::to_string(database)})
            .processed > 0) {
        pg::Call([] {
            ereport(WARNING,
                    (errmsg("a migration in the database is not cleaned up"),
                     errdetail("Its replication slot on the source would hold WAL back for ever."),
                     errhint("Run in the source's database: SELECT "
                             "pg_drop_replication_slot(slot_name) FROM "
                             "pg_replication_slots WHERE slot_name ~ '^livemigrate_' AND "
                             "database = current_database() AND NOT active;")));
        });
        dropped_database = database;
        return;
    }
    throw Error(sqlstate::kObjectInUse,
                std::string("cannot drop database \"") + pg::Call([database] {
                    return get_database_name(database);
                }) + "\": a migration in it is not cleaned up")
        .Detail("Its replication slot on the source would hold WAL back for ever.")
        .Hint("In that database run: SELECT livemigrate.migration_abort(migration) FROM "
              "livemigrate.migrations WHERE state NOT IN ('done', 'aborted'); SELECT "
              "livemigrate.migration_cleanup(migration) FROM livemigrate.migrations;");
}

void
AtObjectAccess(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *argument) {
    if (next_hook != nullptr) {
        next_hook(access, class_id, object_id, sub_id, argument);
    }
    if (access == OAT_DROP && class_id == RelationRelationId && sub_id == 0 &&
        IsMigrationTable(object_id)) {
        pg::Entry(RefuseWhileMigrationsLive);
    } else if (access == OAT_DROP && class_id == DatabaseRelationId) {
        pg::Entry([object_id] { RefuseDatabaseWithMigrations(object_id); });
    }
}

void
AtTransactionEnd(XactEvent event, void *) {
    if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT) {
        return;
    }
    if (event == XACT_EVENT_COMMIT && OidIsValid(dropped_database)) {
        RemoveWorkDirectories(dropped_database);
    }
    dropped_database = InvalidOid;
}

} // namespace

void
InstallDropGuard() {
    RegisterXactCallback(AtTransactionEnd, nullptr);
    next_hook = object_access_hook;
    object_access_hook = AtObjectAccess;
}

} // namespace livemigrate::control
