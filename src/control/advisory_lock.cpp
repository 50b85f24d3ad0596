#include "control/advisory_lock.hpp"

#include "pg/guard.hpp"

namespace livemigrate::control {

namespace {

// pg_advisory_lock() uses 1 and 2 in the fourth field.
constexpr uint16 kKeySpace = 0x4c4d;

LOCKTAG
Tag(int32 migration, LockClass lock) {
    LOCKTAG tag;
    SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, static_cast<uint32>(migration),
                         static_cast<uint32>(lock), kKeySpace);
    return tag;
}

LOCKMODE
Mode(LockStrength strength) {
    return strength == LockStrength::kShared ? ShareLock : ExclusiveLock;
}

} // namespace

void
Acquire(int32 migration, LockClass lock, LockStrength strength) {
    const LOCKTAG tag = Tag(migration, lock);
    pg::Call([&] { (void)LockAcquire(&tag, Mode(strength), true, false); });
}

bool
TryAcquire(int32 migration, LockClass lock, LockStrength strength) {
    const LOCKTAG tag = Tag(migration, lock);
    return pg::Call(
        [&] { return LockAcquire(&tag, Mode(strength), true, true) != LOCKACQUIRE_NOT_AVAIL; });
}

void
Release(int32 migration, LockClass lock, LockStrength strength) {
    const LOCKTAG tag = Tag(migration, lock);
    pg::Call([&] { (void)LockRelease(&tag, Mode(strength), true); });
}

void
AcquireForTransaction(int32 migration, LockClass lock, LockStrength strength) {
    const LOCKTAG tag = Tag(migration, lock);
    pg::Call([&] { (void)LockAcquire(&tag, Mode(strength), false, false); });
}

} // namespace livemigrate::control
