// When a backlog of the source's changes is read in chunks, through the SQL functions of its slot,
// rather than streamed, and where each chunk ends.
//
// A walsender makes a system call or two for every message and WAL record; a function decodes a
// stretch of WAL and hands out everything in one go, for a half to a fifth of the processor time
// (doc/performance.md). It has a price: each call decodes again from the slot's restart_lsn, which
// stands still while a transaction is open and otherwise moves every 15 seconds of the source's
// time; and the source gathers the answer, in memory and then in a temporary file, before it sends
// the first of it. So chunks are bounded, and a slot that would make them read much twice is
// streamed. That bounds what a transaction may have written as well: none that ends in a chunk
// began before restart_lsn; and with what the last chunk's WAL became it bounds the answer's size.
#pragma once

#include "core/lsn.hpp"

#include <cstdint>
#include <optional>

namespace livemigrate {

struct BacklogState {
    Lsn restart_lsn;    // the slot's
    Lsn received;       // everything that commits before it is here
    Lsn source_flushed; // how far the source's WAL goes
    Lsn confirmed;      // the slot's: nothing before it is given out again
};

// What is asked for: the transactions that commit before `end`, or fewer of them, from the one on
// with which there are `most_changes`.
struct Chunk {
    Lsn end;
    uint64_t most_changes = 0;
};

// What a chunk brought.
struct ChunkSize {
    uint64_t changes = 0;
    uint64_t bytes = 0;
};

class BacklogPlan {
  public:
    // `chunk_size`: bytes of WAL; 0: everything is streamed.
    explicit BacklogPlan(uint64_t chunk_size);

    // The next chunk; nullopt when it is time to stream.
    std::optional<Chunk> NextChunk(const BacklogState &state);

    // What the last one brought, and where it ended. After a chunk that brought nothing streaming
    // is better: there is nothing to send, or a large transaction that can be had while it is in
    // progress.
    void Brought(const ChunkSize &size, Lsn reached);

  private:
    uint64_t chunk_size_;
    // At most in the next chunk, twice as many behind one that had that many: so that apply has
    // something to do soon, and always something while the next is waited for.
    uint64_t changes_;
    std::optional<Lsn> begin_; // of the last chunk
    uint64_t again_ = 0;       // WAL before it that was decoded once more
    bool sparse_ = false;      // it brought little: to get to what apply can do takes a long one
    uint64_t bytes_per_wal_;
    bool brought_nothing_ = false;
};

} // namespace livemigrate
