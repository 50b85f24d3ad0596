// The handshake between the extension's SQL scripts and this library. Packages replace the library
// while the scripts of each database stay as they are until ALTER EXTENSION ... UPDATE, and a
// preloaded library stays until the server is restarted: either may be the newer one.
#pragma once

namespace livemigrate::control {

// Throws Error 55000, which says what to do, unless both are of one version. Nothing else of the
// extension's may have been read before. Needs an open transaction.
void CheckVersion();

} // namespace livemigrate::control
