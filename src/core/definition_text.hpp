// Definitions as pg_get_viewdef(), pg_get_constraintdef() and the like print them, brought to one
// form, so that two servers that hold the same definition are seen to do so.
#pragma once

#include <string>
#include <string_view>

namespace livemigrate {

// `text` with what depends on its history or on the server's version taken away. For comparing
// only: the result is no SQL. String constants and quoted names stay as they are.
//
// - Runs of white space become one blank: line breaks depend on the width of what is printed.
// - "(ARRAY['a'::character varying])::text[]" becomes "ARRAY[('a'::character varying)::text]": the
//   server prints the first for what was typed, and the second for what was restored from that.
// - "((a AND b) AND c)" becomes "(a AND b AND c)", likewise OR: BETWEEN makes the first.
// - EXECUTE PROCEDURE of a trigger becomes EXECUTE FUNCTION, as it is printed from version 12 on.
//
// `unqualify` also takes the qualification from all names, for two servers of which one is 16 or
// newer: these qualify columns in fewer places.
std::string CanonicalDefinition(std::string_view text, bool unqualify);

} // namespace livemigrate
