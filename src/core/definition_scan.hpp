// Finding one's way through definitions as pg_get_indexdef(), pg_get_constraintdef() and the like
// print them: what is quoted, and what is in brackets.
#pragma once

#include <cstddef>
#include <string_view>

namespace livemigrate {

bool IsQuote(char byte);

// Whether a name that is not quoted can have the byte.
bool IsNameByte(char byte);

// The position behind the constant or quoted name that begins at `at`. Doubled quotes need no care:
// they read as two constants side by side.
size_t SkipQuoted(std::string_view text, size_t at);

// The position of the bracket that closes the one at `open`; npos if there is none.
size_t FindClosing(std::string_view text, size_t open);

} // namespace livemigrate
