// Partitioned tables whose partitions are not the same on the target as on the source.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace livemigrate {

struct RearrangedTables {
    using Name = std::pair<std::string, std::string>; // schema and table

    // Partitions of the source that the target does not have.
    std::set<Name> missing;
    // Partitioned tables of the source, with all partitioned ones below a root, that have other
    // partitions on the target, or none: not just fewer.
    std::set<Name> others;
    // The partitions of the source that have rows, by the root; of all such roots.
    std::map<Name, std::vector<Name>> leaves;
};

} // namespace livemigrate
