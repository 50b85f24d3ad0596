// An input as a stream of wal2json messages, one a line.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace livemigrate::fuzz {

// Calls `take` with each message until it returns false.
template <typename Take>
void
ForEachLine(const uint8_t *data, size_t size, Take &&take) {
    std::string_view rest(reinterpret_cast<const char *>(data), size);
    while (!rest.empty()) {
        const size_t length = std::min(rest.find('\n'), rest.size());
        if (!take(rest.substr(0, length))) {
            return;
        }
        rest.remove_prefix(std::min(length + 1, rest.size()));
    }
}

inline bool
IsFullIdentity(std::string_view, std::string_view name) {
    return name == "full_identity";
}

} // namespace livemigrate::fuzz
