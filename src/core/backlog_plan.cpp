#include "core/backlog_plan.hpp"

#include <algorithm>

namespace livemigrate {

namespace {

constexpr uint64_t kFirstChunk = 16 << 20;
// Chunks are worth a beginning when there are at least two of the first's size.
constexpr uint64_t kChunksToBegin = 2;
// Of WAL that is read once more for each chunk, in chunks. Beyond it streaming costs less.
constexpr uint64_t kChunksReadAgain = 8;
// So much longer a chunk may be where much is read again.
constexpr uint64_t kStretch = 2;

} // namespace

std::optional<Lsn>
BacklogPlan::NextChunk(const BacklogState &state) {
    if (chunk_size_ == 0 || brought_nothing_ || state.source_flushed <= state.received) {
        return std::nullopt;
    }
    const uint64_t first = std::min(kFirstChunk, chunk_size_);
    const uint64_t backlog = state.source_flushed.value - state.received.value;
    if (backlog < (size_ == 0 ? kChunksToBegin * first : first)) {
        return std::nullopt;
    }
    const uint64_t again = state.received.value - std::min(state.restart_lsn, state.received).value;
    if (again / kChunksReadAgain > chunk_size_) {
        return std::nullopt;
    }
    size_ = size_ == 0 ? first : std::min(size_ * 2, chunk_size_);
    const uint64_t stretched =
        std::clamp(again / 2, size_, std::max(size_, kStretch * chunk_size_));
    return Lsn{state.received.value + std::min(stretched, backlog)};
}

} // namespace livemigrate
