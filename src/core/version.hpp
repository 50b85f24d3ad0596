// The version of this library: that of the SQL script it belongs to (default_version in
// livemigrate.control, which test/conventions.sh compares).
#pragma once

#include <string_view>

namespace livemigrate {

inline constexpr std::string_view kVersion = "0.1.0";

// Less than, equal to or greater than 0, as `left` is an older version than `right`, the same, or a
// newer one. Numbers between dots count as such; any other text of equal length as text.
int CompareVersions(std::string_view left, std::string_view right);

} // namespace livemigrate
