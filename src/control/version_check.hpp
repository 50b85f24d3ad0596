// The handshake between the extension's SQL scripts and this library. Packages replace the library
// while the scripts of each database stay as they are until ALTER EXTENSION ... UPDATE, and a
// preloaded library stays until the server is restarted: either may be the newer one.
#pragma once

#include <cstdint>

namespace livemigrate::control {

// Throws Error 55000, which says what to do, unless both are of one version. Nothing else of the
// extension's may have been read before. Needs an open transaction.
void CheckVersion();

// For a coordinator, without a transaction. False, with the reason in the server log, when they are
// not: it must not touch the extension's tables.
bool VersionFits(int32_t migration);

} // namespace livemigrate::control
