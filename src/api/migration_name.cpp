// migration_name(id), for the views over rows of which there are tens of thousands: a lookup in
// memory costs a tenth of joining each row to its migration.
#include "pg/prelude.hpp"

#include "api/sql_function.hpp"

#include <algorithm>
#include <cstring>

extern "C" {
#include "access/table.h"
#include "access/tableam.h"
#include "utils/snapmgr.h"
}

namespace livemigrate::api {

namespace {

struct NamedMigrationRow {
    int32 id;
    NameData name;
};

// All migrations as the calling statement sees them, by id. Lives as long as its FmgrInfo.
struct MigrationNames {
    NamedMigrationRow *rows;
    size_t count;
    size_t last; // where the latest lookup ended: rows of a migration mostly come together
};

// May ereport. Rights on the table are not asked for: names are what the views show.
MigrationNames *
ReadNames(MemoryContext context) {
    const MemoryContext outer = MemoryContextSwitchTo(context);
    auto *names = static_cast<MigrationNames *>(palloc0(sizeof(MigrationNames)));
    const Oid schema = get_namespace_oid("livemigrate", false);
    Relation relation = table_open(get_relname_relid("migration", schema), AccessShareLock);
    const AttrNumber id = get_attnum(RelationGetRelid(relation), "id");
    const AttrNumber name = get_attnum(RelationGetRelid(relation), "name");
    TableScanDesc scan = table_beginscan(relation, GetActiveSnapshot(), 0, nullptr);
    TupleTableSlot *slot = table_slot_create(relation, nullptr);
    size_t room = 16;
    names->rows = static_cast<NamedMigrationRow *>(palloc(sizeof(NamedMigrationRow) * room));
    while (table_scan_getnextslot(scan, ForwardScanDirection, slot)) {
        if (names->count == room) {
            room *= 2;
            names->rows = static_cast<NamedMigrationRow *>(
                repalloc(names->rows, sizeof(NamedMigrationRow) * room));
        }
        bool is_null = false; // neither is: both are NOT NULL
        NamedMigrationRow &row = names->rows[names->count++];
        row.id = DatumGetInt32(slot_getattr(slot, id, &is_null));
        row.name = *DatumGetName(slot_getattr(slot, name, &is_null));
    }
    ExecDropSingleTupleTableSlot(slot);
    table_endscan(scan);
    table_close(relation, AccessShareLock);
    std::sort(names->rows, names->rows + names->count,
              [](const NamedMigrationRow &a, const NamedMigrationRow &b) { return a.id < b.id; });
    MemoryContextSwitchTo(outer);
    return names;
}

// Null if there is none.
NameData *
Find(MigrationNames &names, int32 id) {
    if (names.last < names.count && names.rows[names.last].id == id) {
        return &names.rows[names.last].name;
    }
    const NamedMigrationRow *end = names.rows + names.count;
    NamedMigrationRow *found = std::lower_bound(
        names.rows, names.rows + names.count, id,
        [](const NamedMigrationRow &row, int32 wanted) { return row.id < wanted; });
    if (found == end || found->id != id) {
        return nullptr;
    }
    names.last = static_cast<size_t>(found - names.rows);
    return &found->name;
}

} // namespace

} // namespace livemigrate::api

// Called for each row, and only PostgreSQL's functions run in it: without the guards of the others.
extern "C" {
PG_FUNCTION_INFO_V1(livemigrate_migration_name);
PGDLLEXPORT Datum livemigrate_migration_name(PG_FUNCTION_ARGS);
}
Datum
livemigrate_migration_name(PG_FUNCTION_ARGS) {
    using livemigrate::api::MigrationNames;
    FmgrInfo *function = fcinfo->flinfo;
    if (function->fn_extra == nullptr) {
        function->fn_extra = livemigrate::api::ReadNames(function->fn_mcxt);
    }
    NameData *name = livemigrate::api::Find(*static_cast<MigrationNames *>(function->fn_extra),
                                            PG_GETARG_INT32(0));
    if (name == nullptr) {
        PG_RETURN_NULL();
    }
    PG_RETURN_NAME(name);
}
