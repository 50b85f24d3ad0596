#include "stage/missing_roles.hpp"

#include "pg/spi.hpp"

#include <algorithm>
#include <array>

namespace livemigrate::stage {

namespace {

constexpr std::array<std::string_view, 4> kProviderPrefixes = {"rds", "azure", "cloudsql",
                                                               "alloydb"};

} // namespace

bool
IsProviderRole(std::string_view name) {
    return std::any_of(
        kProviderPrefixes.begin(), kProviderPrefixes.end(),
        [&](std::string_view prefix) { return name.substr(0, prefix.size()) == prefix; });
}

std::set<std::string>
TargetRoles() {
    std::set<std::string> names;
    for (const auto &row : pg::Query("SELECT rolname FROM pg_catalog.pg_roles").rows) {
        names.insert(row.at(0).value());
    }
    return names;
}

std::vector<std::string>
ListMissingRoles(source::Connection &source) {
    const std::set<std::string> existing = TargetRoles();
    std::vector<std::string> missing;
    for (const auto &row : source
                               .Query("SELECT rolname FROM pg_catalog.pg_roles"
                                      " WHERE rolname !~ '^pg_' ORDER BY rolname")
                               .rows) {
        const std::string &name = row.at(0).value();
        if (existing.count(name) == 0 && !IsProviderRole(name)) {
            missing.push_back(name);
        }
    }
    return missing;
}

} // namespace livemigrate::stage
