#include "core/crc32c.hpp"

#include <array>
#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace livemigrate {

namespace {

constexpr uint32_t kPolynomial = 0x82f63b78; // 0x1edc6f41 with its bits reversed
constexpr size_t kSlices = 8;                // bytes that one turn of the table loop takes

using Tables = std::array<std::array<uint32_t, 256>, kSlices>;

// tables[0] is the classic table of bytes; tables[n] is that of a byte with n zero bytes behind it.
constexpr Tables
MakeTables() {
    Tables tables{};
    for (uint32_t byte = 0; byte < 256; ++byte) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; ++bit) {
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
        }
        tables[0][byte] = crc;
    }
    for (size_t slice = 1; slice < kSlices; ++slice) {
        for (size_t byte = 0; byte < 256; ++byte) {
            const uint32_t crc = tables[slice - 1][byte];
            tables[slice][byte] = (crc >> 8) ^ tables[0][crc & 0xff];
        }
    }
    return tables;
}

constexpr Tables kTables = MakeTables();

uint64_t
LoadLittleEndian(const char *bytes) {
    uint64_t value;
    std::memcpy(&value, bytes, sizeof(value));
    return std::endian::native == std::endian::little ? value : __builtin_bswap64(value);
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t
ExtendHardware(uint32_t crc, std::string_view data) {
    const char *bytes = data.data();
    size_t length = data.size();
    uint64_t state = static_cast<uint32_t>(~crc);
    for (; length >= 8; bytes += 8, length -= 8) {
        state = _mm_crc32_u64(state, LoadLittleEndian(bytes));
    }
    uint32_t rest = static_cast<uint32_t>(state);
    if ((length & 4) != 0) {
        uint32_t word;
        std::memcpy(&word, bytes, sizeof(word));
        rest = _mm_crc32_u32(rest, word);
        bytes += 4;
    }
    for (length &= 3; length > 0; ++bytes, --length) {
        rest = _mm_crc32_u8(rest, static_cast<uint8_t>(*bytes));
    }
    return ~rest;
}
#endif

} // namespace

uint32_t
ExtendCrc32cPortable(uint32_t crc, std::string_view data) {
    const char *bytes = data.data();
    size_t length = data.size();
    uint32_t state = ~crc;
    for (; length >= kSlices; bytes += kSlices, length -= kSlices) {
        const uint64_t word = LoadLittleEndian(bytes) ^ state;
        state = 0;
        for (size_t i = 0; i < kSlices; ++i) {
            state ^= kTables[kSlices - 1 - i][(word >> (8 * i)) & 0xff];
        }
    }
    for (; length > 0; ++bytes, --length) {
        state = (state >> 8) ^ kTables[0][(state ^ static_cast<uint8_t>(*bytes)) & 0xff];
    }
    return ~state;
}

uint32_t
ExtendCrc32c(uint32_t crc, std::string_view data) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) {
        return ExtendHardware(crc, data);
    }
#endif
    return ExtendCrc32cPortable(crc, data);
}

} // namespace livemigrate
