// The bounds of a partition as an SQL condition that another server has written.
#pragma once

#include <string>

namespace livemigrate::pg {

// Whether running the condition runs nothing but the server's own code: comparisons of columns with
// constants, by operators of pg_catalog and with types that are no domains. What a server shows as
// a partition's constraint is such a condition, unless it is by hash, by an expression, or by an
// operator of an extension. Throws Error 42601 for what does not parse. REQUIRES: an open
// transaction; search_path is empty.
bool IsBoundsCondition(const std::string &condition);

} // namespace livemigrate::pg
