// An input as a stream of pgoutput messages: each a big-endian 16-bit length and as many bytes, the
// last one as much as there is.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace livemigrate::fuzz {

inline std::vector<std::string_view>
PgoutputMessages(const uint8_t *data, size_t size) {
    std::string_view rest(reinterpret_cast<const char *>(data), size);
    std::vector<std::string_view> messages;
    while (rest.size() >= 2) {
        const size_t wanted =
            static_cast<size_t>(static_cast<uint8_t>(rest[0])) << 8 | static_cast<uint8_t>(rest[1]);
        const size_t length = std::min(wanted, rest.size() - 2);
        messages.push_back(rest.substr(2, length));
        rest.remove_prefix(2 + length);
    }
    return messages;
}

} // namespace livemigrate::fuzz
