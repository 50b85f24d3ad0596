#include "core/wal2json_scanner.hpp"

#include <simdjson.h>

#include <algorithm>
#include <bit>
#include <cstring>

namespace livemigrate {

namespace {

constexpr std::string_view kActionMember = R"({"action":"I")"; // of any action: the same length

// What one huge row needed is given back when the rows are small again.
constexpr size_t kKeptCapacity = size_t{8} << 20;

constexpr uint64_t kEveryByte = 0x0101010101010101;
constexpr uint64_t kHighBits = 0x80 * kEveryByte;

// The next eight bytes, the first one lowest.
uint64_t
LoadWord(const char *from) {
    uint64_t word;
    std::memcpy(&word, from, sizeof(word));
    return std::endian::native == std::endian::big ? __builtin_bswap64(word) : word;
}

// Sets the high bit of each byte that is zero. A borrow may set it in bytes above one that is, so
// only the lowest bit that is set can be relied on; that is the one wanted.
uint64_t
ZeroBytes(uint64_t word) {
    return (word - kEveryByte) & ~word & kHighBits;
}

// Likewise for the bytes that a JSON string cannot hold as they are: quote, backslash and control
// characters.
uint64_t
SpecialBytes(uint64_t word) {
    const uint64_t control = (word - 0x20 * kEveryByte) & ~word & kHighBits;
    return ZeroBytes(word ^ '"' * kEveryByte) | ZeroBytes(word ^ '\\' * kEveryByte) | control;
}

bool
IsSpecial(char c) {
    return c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20;
}

bool
IsNumberByte(char c) {
    if (c >= '0' && c <= '9') [[likely]] {
        return true;
    }
    return c == '.' || c == '-' || c == '+' || c == 'e' || c == 'E';
}

// The character of a two-byte escape, or 0.
char
UnescapedCharacter(char escape) {
    switch (escape) {
    case '"':
    case '\\':
        return escape;
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return 0;
    }
}

// The character of a \u escape if it is one of the control characters from 0001 to 001f, all that
// escape_json() of PostgreSQL writes so, else 0.
char
ControlCharacter(const char *digits) {
    const auto hex = [](char c) {
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 0x100;
    };
    if (digits[0] != '0' || digits[1] != '0' || (digits[2] != '0' && digits[2] != '1')) {
        return 0;
    }
    const int character = hex(digits[2]) * 16 + hex(digits[3]);
    return character < 0x20 ? static_cast<char>(character) : '\0';
}

} // namespace

Wal2jsonTable *
Wal2jsonScanner::Scan(std::string_view payload, Wal2jsonRelations &relations, Change &change) {
    payload_ = payload;
    at_ = payload.data();
    end_ = at_ + payload.size();
    unescaped_size_ = 0;
    if (unescaped_capacity_ > kKeptCapacity && payload.size() <= kKeptCapacity / 2) {
        unescaped_.reset();
        unescaped_capacity_ = 0;
    }
    std::string_view schema;
    std::string_view name;
    if (!ScanHead(schema, name)) {
        return nullptr;
    }
    Wal2jsonTable &table = relations.Find(schema, name);
    const ChangeKind kind = change.kind;
    if (kind == ChangeKind::kInsert || kind == ChangeKind::kUpdate) {
        if (!Skip(R"(,"columns":[)") || !ScanTuple(table, change.new_tuple)) {
            return nullptr;
        }
    }
    if (kind == ChangeKind::kUpdate || kind == ChangeKind::kDelete) {
        if (!Skip(R"(,"identity":[)") || !ScanTuple(table, change.old_tuple)) {
            return nullptr;
        }
    }
    return Skip('}') && at_ == end_ ? &table : nullptr;
}

// {"action":"I","xid":740,"timestamp":"...","lsn":"0/1561150","schema":"public","table":"item"
bool
Wal2jsonScanner::ScanHead(std::string_view &schema, std::string_view &name) {
    if (remaining() < kActionMember.size()) {
        return false;
    }
    at_ += kActionMember.size(); // what the caller took the kind from
    std::string_view unused;
    return Skip(R"(,"xid":)") && ScanNumber(unused) &&       //
           Skip(R"(,"timestamp":)") && ScanString(unused) && //
           Skip(R"(,"lsn":)") && ScanString(unused) &&       //
           Skip(R"(,"schema":)") && ScanString(schema) &&    //
           Skip(R"(,"table":)") && ScanString(name);
}

// {"name":"id","value":1},{"name":"price","value":12.50}]
bool
Wal2jsonScanner::ScanTuple(Wal2jsonTable &table, Tuple &tuple) {
    tuple.assign(table.column_count(), ColumnValue());
    if (Skip(']')) {
        return true;
    }
    size_t position = 0;
    do {
        if (!ScanColumnName(table, position, position)) {
            return false;
        }
        if (position >= tuple.size()) {
            tuple.resize(table.column_count());
        }
        ColumnValue &value = tuple[position];
        if (value.kind != ValueKind::kAbsent || !ScanValue(value) || !Skip('}')) {
            return false;
        }
        position++;
    } while (Skip(','));
    return Skip(']');
}

// Up to the value. The name expected is compared together with the syntax around it.
bool
Wal2jsonScanner::ScanColumnName(Wal2jsonTable &table, size_t expected, size_t &position) {
    const std::string_view text = table.ColumnText(expected);
    if (!text.empty() && SkipText(text)) {
        position = expected;
        return true;
    }
    std::string_view name;
    if (!Skip(R"({"name":)") || !ScanString(name) || !Skip(R"(,"value":)")) {
        return false;
    }
    position = table.FindColumn(name, expected);
    return true;
}

bool
Wal2jsonScanner::ScanValue(ColumnValue &value) {
    value.kind = ValueKind::kText;
    switch (at_ == end_ ? '\0' : *at_) {
    case '"':
        return ScanString(value.data);
    case 'n':
        value.kind = ValueKind::kNull;
        return Skip("null");
    case 't':
        value.data = "t";
        return Skip("true");
    case 'f':
        value.data = "f";
        return Skip("false");
    default:
        return ScanNumber(value.data);
    }
}

bool
Wal2jsonScanner::ScanNumber(std::string_view &number) {
    const char *stop = at_;
    while (stop != end_ && IsNumberByte(*stop)) {
        stop++;
    }
    number = std::string_view(at_, static_cast<size_t>(stop - at_));
    at_ = stop;
    return !number.empty();
}

bool
Wal2jsonScanner::ScanString(std::string_view &text) {
    if (!Skip('"')) {
        return false;
    }
    uint64_t seen = 0;
    const char *const begin = at_;
    at_ = FindSpecial(begin, seen);
    if (at_ == end_) {
        return false;
    }
    if (*at_ != '"') {
        return ScanEscapedString(begin, text);
    }
    text = std::string_view(begin, static_cast<size_t>(at_ - begin));
    at_++;
    return (seen & kHighBits) == 0 || simdjson::validate_utf8(text.data(), text.size());
}

// A string with escapes, from its beginning.
bool
Wal2jsonScanner::ScanEscapedString(const char *begin, std::string_view &text) {
    char *const target = ReserveUnescaped();
    char *out = target;
    uint64_t seen = 0;
    at_ = begin;
    for (;;) {
        out = CopyToSpecial(out, seen);
        if (Skip('"')) {
            break;
        }
        const char character = ScanEscape();
        if (character == 0) {
            return false;
        }
        *out++ = character;
    }
    text = std::string_view(target, static_cast<size_t>(out - target));
    unescaped_size_ += text.size();
    return (seen & kHighBits) == 0 || simdjson::validate_utf8(text.data(), text.size());
}

// The character of the escape at at_, which is passed over, or 0 if it is not one that wal2json
// uses.
char
Wal2jsonScanner::ScanEscape() {
    if (remaining() < 2 || *at_ != '\\') {
        return 0;
    }
    if (at_[1] != 'u') {
        const char character = UnescapedCharacter(at_[1]);
        at_ += 2;
        return character;
    }
    if (remaining() < 6) {
        return 0;
    }
    const char character = ControlCharacter(at_ + 2);
    at_ += 6;
    return character;
}

// Copies what stands before the next quote, backslash or control character, or the end, and goes
// there. Returns the end of the copy, behind which up to eight bytes more are overwritten.
char *
Wal2jsonScanner::CopyToSpecial(char *out, uint64_t &seen) {
    while (remaining() >= sizeof(uint64_t)) {
        const uint64_t word = LoadWord(at_);
        seen |= word;
        std::memcpy(out, at_, sizeof(word));
        if (const uint64_t special = SpecialBytes(word); special != 0) {
            const int length = std::countr_zero(special) / 8;
            at_ += length;
            return out + length;
        }
        at_ += sizeof(word);
        out += sizeof(word);
    }
    while (at_ != end_ && !IsSpecial(*at_)) {
        seen |= static_cast<unsigned char>(*at_);
        *out++ = *at_++;
    }
    return out;
}

// The first quote, backslash or control character at or behind `from`, else the end. Adds to the
// bits of `seen` those of all bytes before it (and perhaps of some behind).
const char *
Wal2jsonScanner::FindSpecial(const char *from, uint64_t &seen) const {
    while (end_ - from >= static_cast<ptrdiff_t>(sizeof(uint64_t))) {
        const uint64_t word = LoadWord(from);
        seen |= word;
        if (const uint64_t special = SpecialBytes(word); special != 0) {
            return from + std::countr_zero(special) / 8;
        }
        from += sizeof(uint64_t);
    }
    while (from != end_ && !IsSpecial(*from)) {
        seen |= static_cast<unsigned char>(*from++);
    }
    return from;
}

// Room for the payload's strings from here on, which escapes only make longer.
char *
Wal2jsonScanner::ReserveUnescaped() {
    constexpr size_t kOverrun = sizeof(uint64_t); // of CopyToSpecial
    const size_t needed = payload_.size() + kOverrun;
    if (unescaped_capacity_ < needed) {
        // Nothing stands in it yet: the first string that needs it gets room for all.
        unescaped_capacity_ = 0;
        unescaped_.reset();
        unescaped_.reset(new char[needed + needed / 4]);
        unescaped_capacity_ = needed + needed / 4;
    }
    return unescaped_.get() + unescaped_size_;
}

} // namespace livemigrate
