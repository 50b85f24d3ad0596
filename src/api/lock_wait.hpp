// Which session of the target keeps a migration's worker, or its coordinator, waiting for a lock.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace livemigrate::api {

struct LockWait {
    std::string message; // "apply worker, process 4711, waits for a lock that ... holds"
    std::string hint;    // SQL
};

// Absent when no worker waits for a lock, or only for another worker's.
std::optional<LockWait> FindLockWait(int32_t migration);

} // namespace livemigrate::api
