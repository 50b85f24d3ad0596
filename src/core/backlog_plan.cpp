#include "core/backlog_plan.hpp"

#include <algorithm>

namespace livemigrate {

namespace {

// Less WAL than that is streamed.
constexpr uint64_t kLeastChunk = 16 << 20;
// Chunks are worth a beginning when there are at least two of these.
constexpr uint64_t kChunksToBegin = 2;
// Of WAL that is read once more for each chunk, in chunks. Beyond it streaming costs less.
constexpr uint64_t kChunksReadAgain = 8;
// So much longer a chunk may be where much is read again, or little was found.
constexpr uint64_t kStretch = 2;
// Little is less than such a part, of the changes asked for and of the WAL in bytes.
constexpr uint64_t kSparse = 8;
// Apply has nothing to do before the first chunk has come. How much WAL it takes to so many changes
// cannot be told: page images, other databases, tables that are not followed.
constexpr uint64_t kFirstChanges = 32 << 10;
constexpr uint64_t kMostChanges = 1 << 20;

// What an answer may come to, in the source's memory and temporary file.
constexpr uint64_t kLargestAnswer = 1 << 30;
// What a byte of WAL becomes, as long as nothing is known: values that are compressed there come
// whole.
constexpr uint64_t kBytesPerWal = 2;

} // namespace

BacklogPlan::BacklogPlan(uint64_t chunk_size)
    : chunk_size_(chunk_size), changes_(kFirstChanges), bytes_per_wal_(kBytesPerWal) {}

void
BacklogPlan::Brought(const ChunkSize &size, Lsn reached) {
    const Lsn begin = begin_.value();
    brought_nothing_ = size.changes == 0 || reached <= begin;
    if (brought_nothing_) {
        return;
    }
    const uint64_t wal = reached.value - begin.value;
    // What ends in the chunk may have been written before it.
    bytes_per_wal_ = std::max(bytes_per_wal_, size.bytes / (again_ + wal));
    sparse_ = size.changes < changes_ / kSparse && size.bytes < wal / kSparse;
    if (size.changes >= changes_) {
        changes_ = std::min(2 * changes_, kMostChanges);
    }
}

std::optional<Chunk>
BacklogPlan::NextChunk(const BacklogState &state) {
    if (chunk_size_ == 0 || brought_nothing_ || state.source_flushed <= state.received) {
        return std::nullopt;
    }
    const uint64_t least = std::min(kLeastChunk, chunk_size_);
    const uint64_t backlog = state.source_flushed.value - state.received.value;
    if (backlog < (begin_ ? least : kChunksToBegin * least)) {
        return std::nullopt;
    }
    const uint64_t again = state.received.value - std::min(state.restart_lsn, state.received).value;
    if (again / kChunksReadAgain > chunk_size_) {
        return std::nullopt;
    }
    const uint64_t most = kLargestAnswer / bytes_per_wal_;
    if (again + least > most) {
        return std::nullopt;
    }
    begin_ = state.received;
    again_ = again;
    const uint64_t longest = kStretch * chunk_size_;
    const uint64_t stretched = sparse_ ? longest : std::clamp(again / 2, chunk_size_, longest);
    return Chunk{.end = Lsn{state.received.value + std::min({stretched, backlog, most - again})},
                 .most_changes = changes_};
}

} // namespace livemigrate
