#include "core/lsn.hpp"

#include "core/error.hpp"

#include <charconv>

namespace livemigrate {

namespace {

constexpr size_t kMaxHexDigits = 8; // of each half

// Reads all of `text` as one half of a position; false unless it is 1 to 8 hexadecimal digits.
bool
ParseHalf(std::string_view text, uint32_t &half) {
    // from_chars takes no sign for an unsigned number, no blank and no "0x", as pg_lsn_in.
    if (text.empty() || text.size() > kMaxHexDigits) {
        return false;
    }
    const char *const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, half, 16);
    return error == std::errc() && stop == end;
}

char *
PrintHalf(uint32_t half, char *out) {
    char *const end = std::to_chars(out, out + kMaxHexDigits, half, 16).ptr;
    for (; out < end; out++) {
        if (*out >= 'a') {
            *out = static_cast<char>(*out - 'a' + 'A');
        }
    }
    return end;
}

} // namespace

std::string
Lsn::ToString() const {
    char text[2 * kMaxHexDigits + 1];
    char *end = PrintHalf(static_cast<uint32_t>(value >> 32), text);
    *end++ = '/';
    end = PrintHalf(static_cast<uint32_t>(value), end);
    return std::string(text, end);
}

Lsn
Lsn::Parse(std::string_view text) {
    const size_t slash = text.find('/');
    uint32_t high = 0;
    uint32_t low = 0;
    if (slash == std::string_view::npos || !ParseHalf(text.substr(0, slash), high) ||
        !ParseHalf(text.substr(slash + 1), low)) {
        // At most as much as any real position, in case somebody passes a whole file.
        constexpr size_t kShown = 40;
        throw Error(sqlstate::kInvalidParameterValue, "invalid write-ahead log position \"" +
                                                          std::string(text.substr(0, kShown)) +
                                                          "\"")
            .Hint("A position looks like 16/B374D848.");
    }
    return Lsn{static_cast<uint64_t>(high) << 32 | low};
}

} // namespace livemigrate
