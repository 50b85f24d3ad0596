// Who may do what with a migration: its workers run as the role that started it, so whoever changes
// its rows acts with that role's rights.
#pragma once

#include "pg/prelude.hpp"

#include "control/catalog.hpp"

#include <string>

namespace livemigrate::api {

// Throws Error 42501 unless the session's role is the migration's owner, a member of it, or a
// superuser.
void RequireOwner(const control::Migration &migration);

// "by" and the caller's role: the detail of an event that says what somebody asked for.
std::string ByCaller();

} // namespace livemigrate::api
