// Words and figures for the operator: status, events, dashboard and report.
#pragma once

#include "core/migration_state.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace livemigrate {

// "1 table", "2 tables": the plural takes an s.
std::string Counted(uint64_t count, std::string_view noun);

// "350 ms", "12.3 s", "4 min 05 s", "1 h 23 min", "2 d 04 h".
std::string FormatSeconds(double seconds);

// "12 MB/s".
std::string FormatByteRate(double bytes_per_second);

// "1 234 567": groups of three, with a blank that does not depend on a locale.
std::string FormatCount(uint64_t count);

// What an operator can do at this point, for when nothing more particular is known.
std::string DefaultHint(Stage stage, State state, bool has_endpos, bool cleaned_up);

} // namespace livemigrate
