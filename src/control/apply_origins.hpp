// The replication origins of a migration on the target: one for each apply worker.
#pragma once

#include "control/catalog.hpp"
#include "core/lsn.hpp"

#include <string>

namespace livemigrate::control {

// The first worker's is the migration's own, those of others have a number behind it.
std::string OriginOf(const std::string &origin, uint32_t worker);

// How far the workers have come; invalid where one has not begun, or has no origin.
struct OriginPositions {
    Lsn least;    // all workers have applied their share of what ends up to here
    Lsn furthest; // no worker has applied anything beyond
};

// `flushed`: what is on disk; WAL is flushed for it. REQUIRES: an open transaction, like all here.
OriginPositions ReadOrigins(const std::string &origin, int workers, bool flushed);

void CreateOrigins(const Migration &migration); // anew, those of an earlier attempt are dropped
void DropOrigins(const Migration &migration);

} // namespace livemigrate::control
