// The transaction messages of wal2json, read without a JSON library: the receiver looks at every
// message and must neither allocate nor parse rows, and it must see exactly the transactions that
// the decoder sees, so the decoder uses the same code.
#pragma once

#include "core/lsn.hpp"

#include <cstdint>
#include <string_view>

namespace livemigrate {

// The action of a message ('B', 'C', 'I', 'U', 'D', 'T', 'M' or something newer), or 0 if the
// payload does not begin with {"action":"?" to the byte, as each message of format version 2 does.
char Wal2jsonAction(std::string_view payload);

struct Wal2jsonTransaction {
    Lsn commit_lsn;          // "lsn"
    Lsn end_lsn;             // "nextlsn"
    int64_t commit_time = 0; // "timestamp"; microseconds since 2000-01-01 UTC
    uint32_t xid = 0;        // "xid"
};

// Parses a payload whose action is B or C. Throws Error 08P01 for anything but a flat object of
// strings without escapes, numbers and nulls, in which all four fields stand, once each.
Wal2jsonTransaction ParseWal2jsonTransaction(std::string_view payload);

} // namespace livemigrate
