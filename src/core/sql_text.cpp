#include "core/sql_text.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <array>

namespace livemigrate {

namespace {

constexpr std::string_view kSlotPrefix = "livemigrate_";
constexpr size_t kHashDigits = 8;

// `text` between two `quote`s, with every `quote` in it doubled.
std::string
Quoted(std::string_view text, char quote) {
    if (text.find('\0') != std::string_view::npos) {
        throw Error(sqlstate::kInvalidParameterValue, "name or literal contains a NUL byte");
    }
    std::string result;
    result.reserve(text.size() + 2);
    result += quote;
    for (char byte : text) {
        if (byte == quote) {
            result += quote;
        }
        result += byte;
    }
    result += quote;
    return result;
}

bool
IsSlotCharacter(char byte) {
    return (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '_';
}

// FNV-1a of 64 bits, its halves folded into 32. Stored names depend on it: never change it.
uint32_t
StableHash(std::string_view text) {
    uint64_t hash = 0xcbf29ce484222325;
    for (char byte : text) {
        hash ^= static_cast<unsigned char>(byte);
        hash *= 0x100000001b3;
    }
    return static_cast<uint32_t>(hash >> 32) ^ static_cast<uint32_t>(hash);
}

std::string
HexDigits(uint32_t value) {
    std::string digits(kHashDigits, '0');
    for (size_t i = kHashDigits; i > 0; --i) {
        digits[i - 1] = "0123456789abcdef"[value & 0xf];
        value >>= 4;
    }
    return digits;
}

// A row of pg_size_pretty's table. `size` is counted in units of 2^shift bytes, where the rounded
// units keep one more bit than they show.
struct SizeUnit {
    std::string_view name;
    uint64_t limit; // the next unit is used from here on
    int shift;
    bool rounded;
};

constexpr std::array<SizeUnit, 6> kSizeUnits = {{
    {"bytes", 10 * 1024, 0, false},
    {"kB", 20 * 1024 - 1, 9, true},
    {"MB", 20 * 1024 - 1, 19, true},
    {"GB", 20 * 1024 - 1, 29, true},
    {"TB", 20 * 1024 - 1, 39, true},
    {"PB", 0, 49, true},
}};

} // namespace

std::string
QuoteIdentifier(std::string_view name) {
    return Quoted(name, '"');
}

std::string
QualifiedName(std::string_view schema, std::string_view name) {
    return QuoteIdentifier(schema) + '.' + QuoteIdentifier(name);
}

std::string
QuoteLiteral(std::string_view text) {
    std::string quoted = Quoted(text, '\'');
    if (text.find('\\') == std::string_view::npos) {
        return quoted;
    }
    std::string result = "E";
    for (char byte : quoted) {
        if (byte == '\\') {
            result += '\\';
        }
        result += byte;
    }
    return result;
}

std::string
QuoteReplicationName(std::string_view name) {
    return Quoted(name, '"');
}

std::string
QuoteReplicationLiteral(std::string_view text) {
    return Quoted(text, '\'');
}

std::string
TextArrayLiteral(const std::vector<std::string> &elements) {
    std::string result = "{";
    for (const std::string &element : elements) {
        if (element.find('\0') != std::string::npos) {
            throw Error(sqlstate::kInvalidParameterValue, "array element contains a NUL byte");
        }
        result += result.size() > 1 ? ",\"" : "\"";
        for (char byte : element) {
            if (byte == '"' || byte == '\\') {
                result += '\\';
            }
            result += byte;
        }
        result += '"';
    }
    result += '}';
    return result;
}

std::string
FormatBytes(uint64_t bytes) {
    auto unit = std::find_if(kSizeUnits.begin(), kSizeUnits.end() - 1,
                             [bytes](const SizeUnit &u) { return (bytes >> u.shift) < u.limit; });
    uint64_t size = bytes >> unit->shift;
    if (unit->rounded) {
        size = (size + 1) / 2;
    }
    return std::to_string(size) + ' ' + std::string(unit->name);
}

void
ReplaceAll(std::string &text, std::string_view from, std::string_view to) {
    for (size_t at = text.find(from); at != std::string::npos;
         at = text.find(from, at + to.size())) {
        text.replace(at, from.size(), to);
    }
}

bool
IsSlotName(std::string_view name) {
    return !name.empty() && name.size() <= kMaxNameLength &&
           std::all_of(name.begin(), name.end(), IsSlotCharacter);
}

std::string
SlotName(std::string_view migration) {
    std::string name(kSlotPrefix);
    name += migration;
    if (IsSlotName(name)) {
        return name;
    }
    name.resize(std::min(name.size(), kMaxNameLength - kHashDigits - 1));
    std::replace_if(
        name.begin(), name.end(), [](char byte) { return !IsSlotCharacter(byte); }, '_');
    return name + '_' + HexDigits(StableHash(migration));
}

} // namespace livemigrate
