// The fast path through wal2json's row messages: reads the one layout that wal2json prints with the
// options livemigrate uses, byte for byte, without a general JSON parser.
//
// It never judges: whatever departs from that layout (blanks, other members, another order, an
// escape that wal2json does not use, invalid UTF-8) is left to the JSON parser of Wal2jsonDecoder.
// What it accepts, that parser accepts too, with the same result; the fuzzer compares them.
#pragma once

#include "core/change.hpp"
#include "core/wal2json_relations.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>

namespace livemigrate {

class Wal2jsonScanner {
  public:
    // Reads a message of change.kind (kInsert, kUpdate, kDelete or kTruncate) into the tuples,
    // which are as long as the table had columns when each was read. Returns its table, or nullptr
    // if the message is left to the JSON parser; then the tuples may hold anything. Values point
    // into the payload or into this object until the next call. Throws Error 08P01 as
    // Wal2jsonTable::FindColumn does.
    Wal2jsonTable *Scan(std::string_view payload, Wal2jsonRelations &relations, Change &change);

  private:
    bool ScanHead(std::string_view &schema, std::string_view &name);
    bool ScanTuple(Wal2jsonTable &table, Tuple &tuple);
    bool ScanColumnName(Wal2jsonTable &table, size_t expected, size_t &position);
    bool ScanValue(ColumnValue &value);
    bool ScanString(std::string_view &text);
    bool ScanEscapedString(const char *begin, std::string_view &text);
    char ScanEscape();
    bool ScanNumber(std::string_view &number);
    const char *FindSpecial(const char *from, uint64_t &seen) const;
    char *CopyToSpecial(char *out, uint64_t &seen);
    char *ReserveUnescaped();

    bool
    Skip(char wanted) {
        if (at_ == end_ || *at_ != wanted) {
            return false;
        }
        at_++;
        return true;
    }
    // A literal's length is known when this is compiled, which makes the comparison cheap.
    template <size_t N>
    bool
    Skip(const char (&wanted)[N]) {
        if (remaining() < N - 1 || std::memcmp(at_, wanted, N - 1) != 0) {
            return false;
        }
        at_ += N - 1;
        return true;
    }
    bool
    SkipText(std::string_view wanted) {
        if (remaining() < wanted.size() || std::string_view(at_, wanted.size()) != wanted) {
            return false;
        }
        at_ += wanted.size();
        return true;
    }
    size_t
    remaining() const {
        return static_cast<size_t>(end_ - at_);
    }

    std::string_view payload_;
    const char *at_ = nullptr;
    const char *end_ = nullptr;

    // Strings without their escapes, one behind the other. As large as the payload when it is used,
    // so that what stands in it does not move.
    std::unique_ptr<char[]> unescaped_;
    size_t unescaped_capacity_ = 0;
    size_t unescaped_size_ = 0;
};

} // namespace livemigrate
