// The client programs that come with this server.
#pragma once

#include <string>

namespace livemigrate::pg {

// The path of pg_dump, pg_restore ...: in livemigrate.client_bin_dir when that is set, else beside
// the running server's own executable. Throws Error 58P01 when there is no such program.
std::string ClientBinary(const char *name);

} // namespace livemigrate::pg
