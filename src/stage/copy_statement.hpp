// The target's half of a copy into a table whose rows an extension keeps, or may want to know of:
// COPY FROM as a statement, which the extension sees, and may execute itself, as any client's.
#pragma once

#include "pg/prelude.hpp"

#include "stage/copy_format.hpp"

#include <string>
#include <vector>

namespace livemigrate::stage {

// COPY of these columns of the target's table from standard input.
std::string CopyFromCommand(Oid relid, const std::vector<CopyColumn> &columns, bool binary);

// Executes it; its rows are what `read` gives, whose errors come out as they are. Returns the
// number of rows that were written. REQUIRES: an active snapshot.
uint64 CopyFromStatement(const std::string &command, copy_data_source_cb read);

} // namespace livemigrate::stage
