#include "pg/prelude.hpp"

#include "api/migration_owner.hpp"

#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/spi.hpp"
#include "pg/sql_row.hpp"

#include <unordered_map>

extern "C" {
#include "commands/trigger.h"
#include "executor/spi.h"
}

namespace livemigrate::api {

namespace {

bool
MayActAs(Oid owner) {
    return pg::Call([owner] { return has_privs_of_role(GetUserId(), owner); });
}

[[noreturn]] void
ThrowNotOwner(Oid owner, const std::string &which) {
    const std::string role = pg::Call([owner]() -> const char * {
        const char *name = GetUserNameFromId(owner, true);
        return name == nullptr ? "" : name;
    });
    const std::string caller =
        pg::Call([]() -> const char * { return GetUserNameFromId(GetUserId(), false); });
    throw Error(sqlstate::kInsufficientPrivilege, "must be owner of " + which)
        .Detail(role.empty() ? "The role that started it does not exist any more."
                             : "Its workers run as role " + QuoteIdentifier(role) + ".")
        .Hint(role.empty()
                  ? "A superuser can do this."
                  : "GRANT " + QuoteIdentifier(role) + " TO " + QuoteIdentifier(caller) + ";");
}

// A column of the row as a number; 0 if it is NULL.
uint32_t
NumberOf(HeapTuple row, TupleDesc descriptor, const char *column) {
    return pg::Call([&]() -> uint32_t {
        bool is_null = true;
        const int attribute = SPI_fnumber(descriptor, column);
        const Datum value = SPI_getbinval(row, descriptor, attribute, &is_null);
        return is_null ? 0 : DatumGetUInt32(value);
    });
}

// Of a migration, by its number: kept, since the trigger lets nobody but a superuser give one to
// somebody else.
Oid
OwnerOf(uint32_t migration) {
    static std::unordered_map<uint32_t, Oid> *known = nullptr;
    if (known == nullptr) {
        known = new std::unordered_map<uint32_t, Oid>();
    }
    const auto found = known->find(migration);
    if (found != known->end()) {
        return found->second;
    }
    const pg::SqlResult rows = pg::Query(
        "SELECT owner FROM livemigrate.migration WHERE id = $1::int", {std::to_string(migration)});
    const Oid owner = rows.rows.empty() ? InvalidOid : pg::Number<Oid>(rows.rows[0], 0);
    known->emplace(migration, owner);
    return owner;
}

// Trigger on the tables whose rows the workers act upon.
Datum
GuardRow(FunctionCallInfo fcinfo) {
    if (!CALLED_AS_TRIGGER(fcinfo)) {
        throw Error(sqlstate::kFeatureNotSupported, "guard_row is a trigger's function");
    }
    const auto *trigger = reinterpret_cast<const TriggerData *>(fcinfo->context);
    const bool is_update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
    HeapTuple result = is_update ? trigger->tg_newtuple : trigger->tg_trigtuple;
    if (pg::Call([] { return superuser(); })) {
        return PointerGetDatum(result);
    }
    TupleDesc descriptor = RelationGetDescr(trigger->tg_relation);
    const bool is_migration = pg::Call([&] { return SPI_fnumber(descriptor, "owner") > 0; });
    for (HeapTuple row : {trigger->tg_trigtuple, result}) {
        const Oid owner = is_migration ? NumberOf(row, descriptor, "owner")
                                       : OwnerOf(NumberOf(row, descriptor, "migration"));
        if (!MayActAs(owner)) {
            ThrowNotOwner(owner, "the migration whose row in livemigrate." +
                                     std::string(RelationGetRelationName(trigger->tg_relation)) +
                                     " this is");
        }
    }
    return PointerGetDatum(result);
}

} // namespace

void
RequireOwner(const control::Migration &migration) {
    if (!MayActAs(migration.owner)) {
        ThrowNotOwner(migration.owner, "migration \"" + migration.settings.name + "\"");
    }
}

std::string
ByCaller() {
    struct Names {
        const char *current;
        const char *session;
    };
    const Names names = pg::Call([]() -> Names {
        return {GetUserNameFromId(GetUserId(), false),
                GetUserNameFromId(GetSessionUserId(), false)};
    });
    const std::string current = names.current;
    const std::string session = names.session;
    return "by " + current + (session == current ? "" : ", in a session of " + session);
}

} // namespace livemigrate::api

extern "C" {
PG_FUNCTION_INFO_V1(livemigrate_guard_row);
PGDLLEXPORT Datum livemigrate_guard_row(PG_FUNCTION_ARGS);
}

// Not by LIVEMIGRATE_FUNCTION, whose look at the versions is nothing for every row.
Datum
livemigrate_guard_row(PG_FUNCTION_ARGS) {
    return livemigrate::pg::Entry([&] { return livemigrate::api::GuardRow(fcinfo); });
}
