// The identity that a migration's spool carries, as the catalog holds it.
#pragma once

#include "control/catalog.hpp"
#include "core/spool_format.hpp"

#include <string>

namespace livemigrate::control {

// 32 hex digits from the server's strong random source.
std::string MakeSpoolToken();

// Throws Error XX001 when the catalog's token is not one.
SpoolIdentity IdentityOf(const Migration &migration);

} // namespace livemigrate::control
