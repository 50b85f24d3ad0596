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

// Runs them. What an earlier attempt left at work on the source is ended first, if it is one of
// livemigrate's, of our role: a session that waits for a lock to make a publication does not notice
// that nobody wants it any more, and would make it when the lock is free. So is a walsender that
// has the slot in use for longer than a second: it makes the slot, and waits for a transaction.
// `waiting` is called between attempts. Throws Error 55006 when either is there after 15 seconds.
void RemoveLeftovers(source::Connection &source, const Migration &migration,
                     const source::WaitObserver &waiting = {});

} // namespace livemigrate::control
