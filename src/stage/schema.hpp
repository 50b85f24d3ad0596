// The schema stage: the dump's pre-data section, executed in-process statement by statement. The
// text is split by PostgreSQL's own parser; nothing interprets psql meta-commands.
#pragma once

#include <string>
#include <vector>

namespace livemigrate::stage {

struct SchemaReport {
    int statements = 0;
    std::vector<std::string> notes; // what was left out, and why
};

// Executes the statements inside the caller's open transaction: all or nothing. An error names the
// failing statement in its context.
SchemaReport ExecuteSchema(const std::string &sql);

} // namespace livemigrate::stage
