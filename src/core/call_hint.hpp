// Hints hold calls of livemigrate that can be run as they are. They are written without the
// migration's name, which the floors below do not know and which is not needed while there is one.
#pragma once

#include <string>
#include <string_view>

namespace livemigrate {

// `hint` with the migration named in every call that leaves it out: migration_resume() becomes
// migration_resume('name'), set_endpos() set_endpos(migration => 'name'), and so on. Calls that
// have a named or a first argument for it already, and all other text, stay.
std::string NameMigrationInCalls(std::string_view hint, std::string_view migration);

// `text` as SQL comment lines, also where a name in it holds a line feed.
std::string Comment(std::string_view text);

// What to do when a table of the source is not on the target.
std::string MissingTableHint(std::string_view schema, std::string_view name);

} // namespace livemigrate
