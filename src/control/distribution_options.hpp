#pragma once

#include "core/distribution_option.hpp"

#include <string>
#include <vector>

namespace livemigrate::control {

// Keys `reference_tables` and `distributed_tables` of the options, a JSON object, in the order in
// which the tables are to be made: each behind the one that it is colocated with. Empty where they
// are not there. Throws Error 22023 that says which entry is wrong, and how. REQUIRES: an open
// transaction.
std::vector<DistributionOption> ReadDistributions(const std::string &options_json);

} // namespace livemigrate::control
