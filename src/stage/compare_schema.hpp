// Compares the definitions of everything a migration takes over, from both sides' catalogs.
#pragma once

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

// What differs, ordered by object; empty when the schemas are the same. Owners, privileges and
// tablespaces are not compared, nor is anything of the system, of extensions or of livemigrate.
// Settings of the session are the same afterwards.
// REQUIRES: an open transaction.
std::vector<SchemaDifference> CompareSchema(const std::string &conninfo,
                                            const SchemaFilter &selects = {});

} // namespace livemigrate::stage
