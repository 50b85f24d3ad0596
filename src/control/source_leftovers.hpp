// What a migration has made on the source, slot and publications, and how it is removed.
#pragma once

#include "control/catalog.hpp"
#include "source/connection.hpp"

#include <string>
#include <vector>

namespace livemigrate::control {

// The statements that remove it, each fit for running as it is in the source's database. None of
// what was never sent: what bears its name there is somebody else's.
std::vector<std::string> RemovalStatements(const Migration &migration);

// Runs one of them. A walsender may outlive its connection, in which case the slot is in use: for a
// moment, or while it makes the slot and waits for a transaction. After a second it is ended, if it
// is one of livemigrate's, of our role. `waiting` is called between the attempts. Throws Error
// 55006 when the slot is still in use after 15 seconds.
void RunRemoval(source::Connection &source, const std::string &slot, const std::string &statement,
                const source::WaitObserver &waiting = {});

} // namespace livemigrate::control
