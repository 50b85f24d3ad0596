#pragma once

#include "core/hypertable_option.hpp"

#include <string>
#include <vector>

namespace livemigrate::control {

// Key `hypertables` of the options, a JSON object; empty where it is not there. Throws Error 22023
// that says which entry is wrong, and how. REQUIRES: an open transaction.
std::vector<HypertableOption> ReadHypertables(const std::string &options_json);

} // namespace livemigrate::control
