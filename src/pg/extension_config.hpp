// Tables of extensions in which some rows are the user's (pg_extension.extconfig).
#pragma once

#include "pg/prelude.hpp"

#include <optional>
#include <string>

namespace livemigrate::pg {

// pg_extension.extcondition is empty or begins with WHERE: what follows that.
std::string WithoutWhere(const std::string &condition);

// The SQL expression that holds for the user's rows of the table, empty if all are; nullopt if the
// table is no extension's configuration. It is the target's own: what the source has for it is the
// source's text, and is run there only. REQUIRES: an open transaction.
std::optional<std::string> UserRowsCondition(Oid table);

} // namespace livemigrate::pg
