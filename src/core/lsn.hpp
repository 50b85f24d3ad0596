// A position in the source's write-ahead log, as pg_lsn shows it ("16/B374D848").
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

namespace livemigrate {

struct Lsn {
    uint64_t value = 0; // 0 is "no position" (InvalidXLogRecPtr)

    constexpr bool
    valid() const {
        return value != 0;
    }
    friend constexpr auto operator<=>(const Lsn &, const Lsn &) = default;

    // The form "XXXXXXXX/XXXXXXXX" in upper-case hex without leading zeros, as pg_lsn_out prints
    // it.
    std::string ToString() const;

    // Throws Error 22023 unless `text` is exactly what pg_lsn_in accepts.
    static Lsn Parse(std::string_view text);
};

} // namespace livemigrate
