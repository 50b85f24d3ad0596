// Which sessions of the source keep the coordinator waiting there.
#pragma once

#include "source/connection.hpp"

#include <string>

namespace livemigrate::control {

struct SourceBlockers {
    std::string who;     // ": process 4711 (app, since 00:02:10), ..."; empty if nobody is found
    std::string command; // " On the source: SELECT pg_terminate_backend(4711);"; for the first
    int32_t pid = 0;     // of the first; 0 if that is a prepared transaction
};

// Those that were running when a slot was asked for: creating it waits for them.
SourceBlockers FindBlockers(source::Connection &monitor);

// Those that hold, or wait before us for, a lock for which any session of ours waits in the
// database.
SourceBlockers FindHoldersOfOurLocks(source::Connection &monitor);

// The same of one session of the source. Connects for it.
SourceBlockers FindLockHolders(const std::string &conninfo, int waiting_pid);

} // namespace livemigrate::control
