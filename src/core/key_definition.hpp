// A unique key of the source that gets more columns on the target.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace livemigrate {

// `definition` is what pg_get_constraintdef() prints of a primary key or unique constraint, or
// pg_get_indexdef() of a unique index. The result is the same key with `columns` behind its own:
//
//   UNIQUE (a) INCLUDE (b) DEFERRABLE  ->  UNIQUE (a, "at") INCLUDE (b) DEFERRABLE
//   CREATE UNIQUE INDEX i ON t USING btree (lower(a) DESC) WHERE b
//                                      ->  USING btree (lower(a) DESC, "at") WHERE b
//
// So of an index, what follows the name of its table. Nothing if `definition` is of another form,
// or of a key that no column can follow: one WITHOUT OVERLAPS.
std::optional<std::string> KeyWithColumns(std::string_view definition,
                                          const std::vector<std::string> &columns);

} // namespace livemigrate
