// Compares the definitions of everything a migration takes over, from both sides' catalogs.
#pragma once

#include "source/connection.hpp"

#include <functional>
#include <string>
#include <vector>

namespace livemigrate::stage {

struct SchemaDifference {
    std::string object; // "column public.orders.total", "index public.orders_pkey"
    std::string source; // definition there, "" where it does not exist
    std::string target;
};

// Says whether a table (view, sequence ...) takes part, with all that hangs on it.
using SchemaFilter = std::function<bool(const std::string &schema, const std::string &name)>;

// What is compared on request: a migration may have left it out.
struct SchemaExtent {
    bool owners = false;
    bool privileges = false; // beyond the owner's own
};

// What differs, ordered by object; empty when the schemas are the same. Tablespaces are not
// compared, nor is anything of the system, of extensions or of livemigrate.
// Settings of the session are the same afterwards.
// REQUIRES: an open transaction.
std::vector<SchemaDifference> CompareSchema(source::Connection &source,
                                            const SchemaFilter &selects = {},
                                            const SchemaExtent &extent = {});

} // namespace livemigrate::stage
