// The SQL that pg_restore --file=- prints, before PostgreSQL's parser sees it.
#pragma once

#include <string_view>

namespace livemigrate {

// `text` without psql's meta-commands; the result points into `text`.
//
// Since 14.19, 15.14, 16.10 and 17.6 the script begins with "\restrict TOKEN", behind nothing but
// comments and blank lines, and ends with "\unrestrict TOKEN". What stands between them is returned
// byte for byte; a script of an older minor release is returned whole. Lines inside statements,
// function bodies above all, are never looked at.
//
// Throws Error 08P01 for any other line that begins with a backslash before the first statement,
// for a malformed \restrict line, and when the script does not end with the \unrestrict line that
// belongs to it (it was cut short).
std::string_view StripMetaCommands(std::string_view text);

} // namespace livemigrate
