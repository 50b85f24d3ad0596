// What the apply workers of a migration come to together: everything is applied of which every
// share is.
#pragma once

#include "core/shared_state.hpp"

#include <cstdint>

namespace livemigrate {

// Takes the workers' own positions together into those of SharedState. By any worker, after it has
// moved on; the common positions never go back, whatever order that happens in.
void PublishApplyProgress(SharedState &state);

// What the target has of the stream: the last commit, or, where nothing is left to apply, what has
// been received.
uint64_t AppliedUpTo(const SharedState &state);

// The furthest position that any worker has announced to commit.
uint64_t FurthestCommit(const SharedState &state);

// Whether every other worker has committed its share of all that commits before the position.
bool OthersHaveArrived(const SharedState &state, uint32_t worker, uint64_t commit_lsn);

// The first segment of the spool that any worker may need; 0 while that is not known.
uint64_t FirstSegmentNeeded(const SharedState &state);

// Stores in hold.held what all workers stand at, if it is the same. Returns whether that is news.
bool PublishHeld(SharedState &state);

// Stores in endpos_reached what all workers have ended at, if it is the same.
void PublishEndposReached(SharedState &state);

// For a new run of the workers: none has ended, and none has nothing left to apply.
void ForgetEnds(SharedState &state);

} // namespace livemigrate
