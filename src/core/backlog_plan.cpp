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
// Less than one byte of so many of WAL, and one change: page images, other databases, tables that
// are not followed. Apply is done with these before the next chunk comes, however short that is.
constexpr uint64_t kSparse = 8;
constexpr uint64_t kFewChanges = 2048;

// What an answer may come to, in the source's memory and temporary file.
constexpr uint64_t kLargestAnswer = 1 << 30;
// What a byte of WAL becomes, as long as nothing is known: values that are compressed there come
// whole.
constexpr uint64_t kBytesPerWal = 2;

} // namespace

BacklogPlan::BacklogPlan(uint64_t chunk_size)
    : chunk_size_(chunk_size), bytes_per_wal_(kBytesPerWal) {}

void
BacklogPlan::Brought(const ChunkSize &size) {
    brought_nothing_ = size.changes == 0;
    sparse_ = size.bytes < wal_ / kSparse && size.changes < wal_ / kFewChanges;
    bytes_per_wal_ = std::max(bytes_per_wal_, size.bytes / std::max<uint64_t>(wal_, 1));
}

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
    const uint64_t most = kLargestAnswer / bytes_per_wal_;
    if (again + first > most) {
        return std::nullopt;
    }
    const uint64_t longest = kStretch * chunk_size_;
    size_ = size_ == 0 ? first : sparse_ ? longest : std::min(size_ * 2, chunk_size_);
    const uint64_t stretched = std::clamp(again / 2, size_, std::max(size_, longest));
    wal_ = std::min({stretched, backlog, most - again});
    return Lsn{state.received.value + wal_};
}

} // namespace livemigrate
