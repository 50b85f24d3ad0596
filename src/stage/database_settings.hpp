// What ALTER DATABASE ... SET and ALTER ROLE ... IN DATABASE ... SET have stored on the source, for
// the target's database: the option database_settings.
#pragma once

#include "source/connection.hpp"

#include <string>
#include <vector>

namespace livemigrate::stage {

struct DatabaseSettingsReport {
    int set = 0;
    std::vector<std::string> notes; // one for each that the target refused, with its reason
};

// Sets them inside the caller's transaction; other settings of the target's database stay. Doing it
// again changes nothing. Throws Error if the source cannot be read.
DatabaseSettingsReport CopyDatabaseSettings(source::Connection &source);

} // namespace livemigrate::stage
