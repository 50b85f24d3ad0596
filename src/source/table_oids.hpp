// Which table of the source has a name now.
#pragma once

#include "source/connection.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <utility>

namespace livemigrate::source {

// OIDs by schema and name.
using TableOids = std::map<std::pair<std::string, std::string>, uint32_t>;

// Of all user tables that hold rows, an extension's too.
TableOids ListTableOids(Connection &source, const WaitObserver &observer = {});

} // namespace livemigrate::source
