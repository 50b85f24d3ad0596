// Tables of the source whose UPDATE and DELETE are not decoded.
#pragma once

#include "source/connection.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace livemigrate::source {

struct TableWithoutIdentity {
    uint32_t oid = 0;
    std::string schema;
    std::string name;
};

// Logged user tables, without those of extensions, that have no replica identity which a plugin
// finds a row by. Works on every source from 10 on.
std::vector<TableWithoutIdentity> ListTablesWithoutIdentity(Connection &source,
                                                            const WaitObserver &observer = {});

} // namespace livemigrate::source
