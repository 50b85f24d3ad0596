// Transactions that the source sends before they end: in chunks, with others between them.
//
// While chunks pass, only this is remembered of a transaction: where its first chunk is and which
// of its subtransactions were aborted. When it commits, its chunks are read again from there.
#pragma once

#include "core/change.hpp"
#include "core/spool_reader.hpp"

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <map>

namespace livemigrate {

// A set of transaction ids. Memory: a bit for each id of a block that has one, so a transaction of
// millions of subtransactions, every other of them aborted, costs little.
class XidSet {
  public:
    void Insert(uint32_t xid);
    bool Contains(uint32_t xid) const;

    // An estimate.
    size_t
    bytes() const {
        return blocks_.size() * (sizeof(Block) + kNodeBytes);
    }

  private:
    static constexpr uint32_t kBlockIds = 512;
    static constexpr size_t kNodeBytes = 64; // of the map, with its key
    using Block = std::bitset<kBlockIds>;

    std::map<uint32_t, Block> blocks_; // by id / kBlockIds
};

struct StreamedTransaction {
    SpoolPosition first;  // the record of its first stream start, or the block that holds it
    uint64_t ordinal = 0; // and which record it is of those with that position
    // Whether that is its first chunk indeed: others were before it in segments that are gone.
    bool whole = false;
    XidSet aborted;
};

// Reads the changes of one streamed transaction, whose stream commit has been read.
//
// Errors: those of SpoolReader and the decoder; XX001 if the stream commit does not come.
class StreamedReader {
  public:
    // `spool` has the spool that the transaction was found in, at `transaction.first`. transaction
    // and decoder must outlive this object.
    StreamedReader(SpoolReader spool, uint32_t xid, const StreamedTransaction &transaction,
                   ChangeDecoder &decoder, void (*check_interrupts)());

    // The next change; false at the stream commit. `limit` is not before what has been read of the
    // spool.
    bool Next(SpoolPosition limit, Change &change);

  private:
    SpoolReader spool_;
    uint32_t xid_;
    const StreamedTransaction &transaction_;
    ChangeDecoder &decoder_;
    void (*check_interrupts_)();
    uint64_t to_pass_over_;
    uint32_t chunk_xid_ = 0; // 0 outside of chunks
};

} // namespace livemigrate
