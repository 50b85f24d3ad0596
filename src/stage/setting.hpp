// Settings stored for roles and databases (pg_db_role_setting), as statements for the target.
#pragma once

#include <string>

namespace livemigrate::stage {

// The value of ALTER ... SET name TO: one literal, or one for each element of a list of names.
std::string SettingValue(const std::string &name, const std::string &value);

// Runs a statement that the target may refuse, in a subtransaction. Returns why it did, or "".
// Throws what is transient.
std::string TryStatement(const std::string &sql);

} // namespace livemigrate::stage
