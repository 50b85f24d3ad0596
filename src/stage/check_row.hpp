// One finding of migration_check or cutover_check.
#pragma once

#include <string>

namespace livemigrate::stage {

struct CheckRow {
    std::string check_id; // stable: part of the SQL surface
    std::string severity; // ok, notice, warning, error
    std::string object;   // what it is about, quoted as in SQL
    std::string message;
    std::string fix;      // can be run as it is; what is only to be read stands behind --
    std::string sqlstate; // of an error
};

} // namespace livemigrate::stage
