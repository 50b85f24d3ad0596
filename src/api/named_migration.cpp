#include "pg/prelude.hpp"

#include "api/named_migration.hpp"

#include "api/migration_owner.hpp"
#include "control/advisory_lock.hpp"

namespace livemigrate::api {

namespace {

control::Migration
Load(int32_t id, bool lock) {
    std::optional<control::Migration> migration = control::LoadMigration(id, lock);
    if (!migration) {
        throw Error(sqlstate::kUndefinedObject, "the migration does not exist any more");
    }
    return std::move(*migration);
}

} // namespace

control::Migration
LoadNamed(const std::optional<std::string> &name, bool ended_too) {
    control::Migration migration = Load(control::ResolveMigration(name, ended_too), true);
    RequireOwner(migration);
    return migration;
}

control::Migration
FindNamed(const std::optional<std::string> &name) {
    control::Migration migration = Load(control::ResolveMigration(name, true), false);
    RequireOwner(migration);
    return migration;
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
