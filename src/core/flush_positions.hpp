// Which remote transactions are not only committed on the target but flushed to its disk.
//
// With synchronous_commit = off a commit of the target may be lost in a crash, with the origin's
// progress. The source may be told of a transaction, and the spool pruned behind it, only once the
// local WAL is flushed beyond its local commit. As PostgreSQL's store_flush_position and
// get_flush_position do it for logical replication.
#pragma once

#include "core/lsn.hpp"
#include "core/spool_format.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

namespace livemigrate {

struct FlushPosition {
    uint64_t local_commit_lsn = 0; // of the target: the end of the commit (XactLastCommitEnd)
    Lsn remote_end_lsn;            // of the source
    SpoolPosition spool_position;  // behind the transaction in the spool: prune up to here
};

class FlushPositions {
  public:
    static constexpr size_t kDefaultCapacity = 8192;

    // When more than `capacity` (at least 2) entries wait, neighbours are merged: the later one
    // stays, so that nothing is reported early, only in larger steps.
    explicit FlushPositions(size_t capacity = kDefaultCapacity);

    // Entries come in the order of their commits. A local_commit_lsn of 0 says that nothing was
    // written locally (empty transactions): it is as flushed as what came before it.
    void Add(uint64_t local_commit_lsn, Lsn remote_end_lsn, SpoolPosition spool_position);

    // The newest entry whose local commit is flushed, dropping it and all older ones.
    std::optional<FlushPosition> FlushedUpTo(uint64_t local_flush_lsn);

    // The newest entry, flushed or not: feedback `apply`.
    const std::optional<FlushPosition> &
    newest() const {
        return newest_;
    }

    size_t
    size() const {
        return entries_.size();
    }

  private:
    void Merge();

    size_t capacity_;
    std::deque<FlushPosition> entries_;
    std::optional<FlushPosition> newest_;
};

} // namespace livemigrate
