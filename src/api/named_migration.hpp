// The migration that a call is about.
#pragma once

#include "control/catalog.hpp"

#include <optional>
#include <string>

namespace livemigrate::api {

// Loads it and locks its row until the end of the transaction. See control::ResolveMigration for
// what a missing name means, and for the errors; Error 42501 where the role may not act for the
// migration's owner.
control::Migration LoadNamed(const std::optional<std::string> &name, bool ended_too = false);

// The same without the lock, also for one that has ended: for calls that take long and change
// nothing of it.
control::Migration FindNamed(const std::optional<std::string> &name);

// Whether a coordinator process has the migration in hand.
bool CoordinatorRuns(const control::Migration &migration);

} // namespace livemigrate::api
