// Tables of the target that have rows where there must be none: what is copied would be mixed with
// them.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace livemigrate::stage {

struct TargetTable {
    std::string oid;
    std::string name;      // as SQL has it
    std::string condition; // WHERE: which rows are the user's, where others are an extension's
};

struct FilledTables {
    std::vector<TargetTable> all; // of those asked for
    std::vector<TargetTable> filled;
    bool more = false; // others are filled, too
};

// Those of the tables (schema and name) that have rows, `most` at most; of an extension's
// configuration rows that are the user's, see pg/extension_config. Names that are not there are
// passed over. Throws Error 55P03, with the table and who has locked it, when lock_timeout is over.
// REQUIRES: an open transaction.
FilledTables FindFilledTables(const std::vector<std::pair<std::string, std::string>> &tables,
                              size_t most);

// SQL that takes these rows out. Statements are lines, with comments among them.
std::string EmptyingSql(const FilledTables &tables);

} // namespace livemigrate::stage
