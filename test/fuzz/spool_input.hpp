// An input as the segments of a spool, which stands in memory (memory_spool.cpp).
//
// The first byte chooses: bit 0, whether checksums are made right, without which no input would
// come beyond them; bit 1, whether the input makes two segments; the rest, where they divide.
#pragma once

#include "core/change.hpp"
#include "core/error.hpp"
#include "core/spool_format.hpp"
#include "core/spool_reader.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace livemigrate::fuzz {

inline constexpr const char *kSpoolPath = "spool";
inline constexpr SpoolIdentity kSpoolIdentity{.token = {'f', 'u', 'z', 'z'},
                                              .system_identifier = 1};

// Makes the spool anew; returns the end of its last segment, in which nothing need be whole.
SpoolPosition MakeSpool(const uint8_t *data, size_t size);

// What the spool holds in place of a plugin's messages: "B" commit_lsn, "C" commit_lsn end_lsn, "I"
// xid (a change); "s" xid first, "e", "c" xid commit_lsn end_lsn, "a" xid subxid (of streamed
// transactions): one byte each.
TransactionMark MarkOf(std::string_view payload);

class Decoder : public ChangeDecoder {
  public:
    void Decode(Lsn lsn, std::string_view payload, Change &change) override;
    TransactionMark MarkStreamed(std::string_view payload) const override;
};

void ReadRecords(SpoolPosition limit);

template <typename Action>
bool
Succeeds(Action &&action) {
    try {
        action();
    } catch (const Error &) {
        return false;
    }
    return true;
}

[[noreturn]] void Fail(const char *what);

} // namespace livemigrate::fuzz
