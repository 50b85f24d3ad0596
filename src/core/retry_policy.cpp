#include "core/retry_policy.hpp"

#include <algorithm>
#include <array>

namespace livemigrate {

namespace {

constexpr auto kTransientClasses = std::to_array<std::string_view>({"08", "53"});

constexpr auto kClassesOfOneTable =
    std::to_array<std::string_view>({"0A", "21", "22", "23", "42", "54", "P0"});

constexpr auto kPermanentInTransientClass = std::to_array<std::string_view>({
    "08P01", // protocol_violation
    "53100", // disk_full
});

constexpr auto kTransientStates = std::to_array<std::string_view>({
    "25P03", // idle_in_transaction_session_timeout
    "25P04", // transaction_timeout
    "40001", // serialization_failure
    "40P01", // deadlock_detected
    "55006", // object_in_use
    "55P03", // lock_not_available
    "57P01", // admin_shutdown
    "57P02", // crash_shutdown
    "57P03", // cannot_connect_now
    "57P05", // idle_session_timeout
});

template <size_t N>
bool
Contains(const std::array<std::string_view, N> &list, std::string_view element) {
    return std::find(list.begin(), list.end(), element) != list.end();
}

} // namespace

bool
IsTransient(std::string_view sqlstate) {
    if (sqlstate.size() != 5) {
        return false;
    }
    if (Contains(kTransientClasses, sqlstate.substr(0, 2))) {
        return !Contains(kPermanentInTransientClass, sqlstate);
    }
    return Contains(kTransientStates, sqlstate);
}

bool
ConcernsOneTable(std::string_view sqlstate) {
    return sqlstate.size() == 5 && Contains(kClassesOfOneTable, sqlstate.substr(0, 2));
}

std::chrono::milliseconds
RetryDelay(int attempt, uint64_t random) {
    const int doublings = std::clamp(attempt - 1, 0, 16); // 2^16 s is beyond the maximum
    const int64_t base =
        std::min(kMinRetryDelay.count() << doublings, static_cast<int64_t>(kMaxRetryDelay.count()));
    const int64_t spread = base / 5;
    const auto offset = static_cast<int64_t>(random % static_cast<uint64_t>(2 * spread + 1));
    return std::chrono::milliseconds(base - spread + offset);
}

} // namespace livemigrate
