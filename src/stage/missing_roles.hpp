// Which of the source's roles the target lacks.
#pragma once

#include "source/connection.hpp"

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace livemigrate::stage {

// Whether a provider creates and manages the role in every server of its own.
bool IsProviderRole(std::string_view name);

// REQUIRES: an open transaction.
std::set<std::string> TargetRoles();

// The names of the roles that stage roles creates. REQUIRES: an open transaction.
std::vector<std::string> ListMissingRoles(source::Connection &source);

} // namespace livemigrate::stage
