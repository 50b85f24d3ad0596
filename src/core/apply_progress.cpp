#include "core/apply_progress.hpp"

#include <algorithm>
#include <span>

namespace livemigrate {

namespace {

std::span<const ApplyWorkerState>
Workers(const SharedState &state) {
    const auto count = std::clamp<size_t>(state.apply_workers.load(), 1, kMaxApplyWorkers);
    return {state.apply, count};
}

uint64_t
Least(const SharedState &state, std::atomic<uint64_t> ApplyWorkerState::*position) {
    uint64_t least = UINT64_MAX;
    for (const ApplyWorkerState &worker : Workers(state)) {
        least = std::min(least, (worker.*position).load());
    }
    return least;
}

// What all workers agree on; 0 if they do not.
uint64_t
Common(const SharedState &state, std::atomic<uint64_t> ApplyWorkerState::*value) {
    const uint64_t first = (state.apply[0].*value).load();
    for (const ApplyWorkerState &worker : Workers(state)) {
        if ((worker.*value).load() != first) {
            return 0;
        }
    }
    return first;
}

bool
Raise(std::atomic<uint64_t> &position, uint64_t to) {
    uint64_t now = position.load();
    while (now < to) {
        if (position.compare_exchange_weak(now, to)) {
            return true;
        }
    }
    return false;
}

} // namespace

void
PublishApplyProgress(SharedState &state) {
    // The clock of the worker that is furthest behind, read before its position: rather too old.
    int64_t commit_time = 0;
    uint64_t least = UINT64_MAX;
    for (const ApplyWorkerState &worker : Workers(state)) {
        const int64_t time = worker.commit_time.load();
        const uint64_t applied = worker.applied_lsn.load();
        if (applied < least) {
            least = applied;
            commit_time = time;
        }
    }
    if (Raise(state.applied_lsn, least) && commit_time != 0) {
        state.applied_commit_time.store(commit_time);
    }
    Raise(state.applied_flushed_lsn, Least(state, &ApplyWorkerState::flushed_lsn));
    Raise(state.drained_lsn, Least(state, &ApplyWorkerState::drained_lsn));
}

uint64_t
AppliedUpTo(const SharedState &state) {
    return std::max(state.applied_lsn.load(), state.drained_lsn.load());
}

uint64_t
FurthestCommit(const SharedState &state) {
    uint64_t furthest = 0;
    for (const ApplyWorkerState &worker : Workers(state)) {
        furthest = std::max(furthest, worker.committing.load());
    }
    return furthest;
}

bool
OthersHaveArrived(const SharedState &state, uint32_t worker, uint64_t commit_lsn) {
    const std::span<const ApplyWorkerState> workers = Workers(state);
    for (size_t i = 0; i < workers.size(); i++) {
        if (i != worker && workers[i].arrived_lsn.load() < commit_lsn) {
            return false;
        }
    }
    return true;
}

uint64_t
FirstSegmentNeeded(const SharedState &state) {
    return Least(state, &ApplyWorkerState::keep_from);
}

bool
PublishHeld(SharedState &state) {
    const uint64_t held = Common(state, &ApplyWorkerState::held);
    return held != 0 && state.hold.held.exchange(held) != held;
}

void
PublishEndposReached(SharedState &state) {
    if (const uint64_t endpos = Common(state, &ApplyWorkerState::ended_at)) {
        state.endpos_reached.store(endpos);
    }
}

void
ForgetEnds(SharedState &state) {
    state.endpos_reached.store(0);
    for (ApplyWorkerState &worker : state.apply) {
        worker.ended_at.store(0);
        worker.drained_lsn.store(0);
    }
    state.drained_lsn.store(0);
}

} // namespace livemigrate
