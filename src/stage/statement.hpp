// Splitting SQL text into statements with PostgreSQL's raw parser.
#pragma once

#include "pg/prelude.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace livemigrate::stage {

struct Statement {
    const Node *node = nullptr; // raw parse tree, in the memory context of the call
    std::string_view text;      // points into the SQL given
};

// Throws Error 42601 for text that does not parse. REQUIRES: `sql` outlives the result.
std::vector<Statement> SplitStatements(const std::string &sql);

// Executes one statement through SPI; an error carries the statement in its context.
void ExecuteStatement(std::string_view text);

// The first `limit` bytes of a statement on one line, for messages.
std::string Excerpt(std::string_view text, size_t limit = 400);

// Session settings of the dump's header that must not be taken over: time limits, the encoding of
// the text (it is in the server's already) and what PinSessionSettings has set.
bool IsIgnoredSetting(const Node *node);

} // namespace livemigrate::stage
