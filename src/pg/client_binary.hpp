// The client programs that come with this server.
#pragma once

#include <string>

namespace livemigrate::pg {

// The path of pg_dump, pg_restore ... of a major version: in livemigrate.client_bin_dir when that
// is set, whatever version is there; else beside the running server's own executable, or for
// another version than the server's where that directory would be
// (/usr/lib/postgresql/<major>/bin). Throws Error 58P01 when there is no such program.
std::string ClientBinary(const char *name, int major);

} // namespace livemigrate::pg
