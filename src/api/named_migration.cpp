#include "pg/prelude.hpp"

#include "api/named_migration.hpp"

#include "control/advisory_lock.hpp"

namespace livemigrate::api {

control::Migration
LoadNamed(const std::optional<std::string> &name, bool ended_too) {
    const int32_t id = control::ResolveMigration(name, ended_too);
    std::optional<control::Migration> migration = control::LoadMigration(id, true);
    if (!migration) {
        throw Error(sqlstate::kUndefinedObject, "the migration does not exist any more");
    }
    return std::move(*migration);
}

bool
CoordinatorRuns(const control::Migration &migration) {
    using control::LockClass;
    using control::LockStrength;
    if (!control::TryAcquire(migration.id, LockClass::kCoordinator, LockStrength::kExclusive)) {
        return true;
    }
    control::Release(migration.id, LockClass::kCoordinator, LockStrength::kExclusive);
    return false;
}

} // namespace livemigrate::api
