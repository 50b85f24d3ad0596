#include "core/flush_positions.hpp"

#include <algorithm>

namespace livemigrate {

FlushPositions::FlushPositions(size_t capacity) : capacity_(std::max<size_t>(capacity, 2)) {}

void
FlushPositions::Add(uint64_t local_commit_lsn, Lsn remote_end_lsn, SpoolPosition spool_position) {
    const uint64_t before = newest_ ? newest_->local_commit_lsn : 0;
    newest_ = {.local_commit_lsn = std::max(local_commit_lsn, before),
               .remote_end_lsn = remote_end_lsn,
               .spool_position = spool_position};
    entries_.push_back(*newest_);
    if (entries_.size() > capacity_) {
        Merge();
    }
}

std::optional<FlushPosition>
FlushPositions::FlushedUpTo(uint64_t local_flush_lsn) {
    std::optional<FlushPosition> flushed;
    while (!entries_.empty() && entries_.front().local_commit_lsn <= local_flush_lsn) {
        flushed = entries_.front();
        entries_.pop_front();
    }
    return flushed;
}

// Halves the number of entries, keeping the later one of each pair, so the newest in any case.
void
FlushPositions::Merge() {
    size_t kept = 0;
    for (size_t i = 1; i < entries_.size(); i += 2) {
        entries_[kept++] = entries_[i];
    }
    if (entries_.size() % 2 == 1) {
        entries_[kept++] = entries_.back();
    }
    entries_.resize(kept);
}

} // namespace livemigrate
