// CRC-32C (Castagnoli, as in iSCSI and in PostgreSQL's WAL): the checksum of the spool.
//
// Uses the processor's instruction where there is one (SSE 4.2, looked for at run time) and tables
// otherwise; both give the same value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace livemigrate {

// The CRC of what `crc` covers followed by `data`; 0 is the CRC of nothing.
uint32_t ExtendCrc32c(uint32_t crc, std::string_view data);

inline uint32_t
Crc32c(std::string_view data) {
    return ExtendCrc32c(0, data);
}

// The table method by itself, for tests on machines that never take it.
uint32_t ExtendCrc32cPortable(uint32_t crc, std::string_view data);

} // namespace livemigrate
