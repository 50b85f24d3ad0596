#include "pg/table_owner.hpp"

#include "pg/compat.hpp"
#include "pg/guard.hpp"
#include "pg/spi.hpp"
#include "pg/table_manager.hpp"

#include <exception>
#include <string>

extern "C" {
#include "access/htup_details.h"
#include "utils/acl.h"
#include "utils/syscache.h"
}

namespace livemigrate::pg {

bool
MayUseSchemaOf(Oid relid, Oid role) {
    return Query("SELECT pg_catalog.has_schema_privilege($2::oid, c.relnamespace, 'USAGE') "
                 "FROM pg_catalog.pg_class c WHERE c.oid = $1::oid",
                 {std::to_string(relid), std::to_string(role)})
               .Scalar() == "t";
}

Oid
OwnerToWriteAs(Oid relid) {
    const Oid owner = Call([relid]() -> Oid {
        HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
        if (!HeapTupleIsValid(tuple)) {
            return InvalidOid;
        }
        const Oid found = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple))->relowner;
        ReleaseSysCache(tuple);
        return found != GetUserId() && MayBecome(found) ? found : InvalidOid;
    });
    if (!OidIsValid(owner)) {
        return InvalidOid;
    }
    switch (ManagerOf(relid)) {
    case TableManager::kNone:
        return owner;
    case TableManager::kTimescaledb:
        return MayUseSchemaOf(relid, owner) ? owner : InvalidOid;
    case TableManager::kCitus:
        break;
    }
    return InvalidOid;
}

AsOwner::AsOwner(Oid role) {
    if (!OidIsValid(role)) {
        return;
    }
    GetUserIdAndSecContext(&before_, &security_before_);
    settings_level_ = NewGUCNestLevel();
    SetUserIdAndSecContext(role,
                           security_before_ | SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
}

AsOwner::~AsOwner() {
    if (!OidIsValid(before_)) {
        return;
    }
    SetUserIdAndSecContext(before_, security_before_);
    try {
        Call([this] { AtEOXact_GUC(false, settings_level_); });
    } catch (const std::exception &error) {
        ereport(FATAL, (errcode(ERRCODE_INTERNAL_ERROR),
                        errmsg("could not restore settings: %s", error.what())));
    }
}

} // namespace livemigrate::pg
