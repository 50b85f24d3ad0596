// Appends the source's change stream to the spool, durably and each transaction once.
//
// The life of a change here: Append() puts it into a bounded buffer, Flush() hands that to the file
// system (readers may then see it, see written()), Sync() to the disk. Only what Sync() returns may
// go to the source as feedback `flush`.
//
// The source sends again what it was not told is safe. A transaction whose commit lies before
// last_end_lsn() is such a repetition and is dropped whole, which is decided at its Begin: commits
// arrive in the order of their LSNs, and a commit record starts before its end.
//
// A streamed transaction is written as it comes, in chunks among others, and belongs to the spool
// from its stream commit on. That it is a repetition shows only there: then a stream abort is
// written for it.
//
// Errors: those of SpoolDirectory; 55000 for a spool of another migration, source or plugin;
// 0A000 for another format version; XX001 for damage that is not a torn tail; 08P01 for messages
// that are out of order. Append() and Flush() change nothing when they throw: the same call may be
// made again once there is space. After a Sync() that threw the object must be given up.
#pragma once

#include "core/change.hpp"
#include "core/posix_file.hpp"
#include "core/relation_repeats.hpp"
#include "core/spool_block.hpp"
#include "core/spool_directory.hpp"
#include "core/spool_format.hpp"
#include "core/spool_options.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace livemigrate {

struct SpoolScan;

class SpoolWriter {
  public:
    // Opens the spool and puts it right: cuts a torn tail off the newest segment, takes back a
    // transaction that is open at the end, syncs. Keeps other writers out until destroyed.
    explicit SpoolWriter(SpoolOptions options);

    // Buffered changes are lost, which is safe: the source was not told of them.
    ~SpoolWriter();
    SpoolWriter(const SpoolWriter &) = delete;
    SpoolWriter &operator=(const SpoolWriter &) = delete;

    // One XLogData message. Returns false if it belongs to a transaction that the spool has.
    bool Append(Lsn lsn, std::string_view payload);

    // The stream begins anew: takes back the transactions that are open, if any. Call it whenever
    // the connection was lost.
    void AppendReset();

    // A keepalive between transactions: everything that commits before `lsn` has been received.
    // Moves last_end_lsn(), so that an idle slot can advance. Does nothing inside a transaction,
    // and for an LSN that is not new.
    void AppendPosition(Lsn lsn);

    void Flush();

    // Flush, and fdatasync if anything was written since the last. Returns synced_end_lsn().
    Lsn Sync();

    // What readers may read: all records before it are whole.
    SpoolPosition
    written() const {
        return {segment_, file_offset_};
    }
    // The end of the last whole transaction, or the last position recorded: of what was appended,
    // and of what is on the disk.
    Lsn
    last_end_lsn() const {
        return last_end_lsn_;
    }
    Lsn
    synced_end_lsn() const {
        return synced_end_lsn_;
    }
    // Whether a transaction, or a chunk of a streamed one, has begun and not ended, be it written
    // or dropped.
    bool
    in_transaction() const {
        return in_transaction_ || dropping_ || chunk_xid_ != 0;
    }
    bool
    in_chunk() const {
        return chunk_xid_ != 0;
    }
    size_t
    buffered_bytes() const {
        return buffered_;
    }

    // The size of all segments, like SpoolBytes but without listing them.
    uint64_t bytes_on_disk();

    // The same, without a look at what was pruned since the last call of bytes_on_disk(), and with
    // what is buffered.
    uint64_t
    size() const {
        return finished_bytes_ + file_offset_ + buffered_;
    }
    uint64_t
    free_disk_bytes() const {
        return directory_.FreeDiskBytes();
    }

    // Whether apply removes a segment when it has applied, and flushed, all whole transactions;
    // `applied_flushed` is how far it is. Apply goes on from the end of the last one, so that
    // segment and those of transactions that are open stay. As of the last bytes_on_disk().
    bool ApplyMakesRoom(Lsn applied_flushed) const;

    // Counts from the next segment on.
    void
    set_compress(bool compress) {
        options_.compress = compress;
    }
    // Counts from the next record on.
    void
    set_segment_size(uint64_t size) {
        options_.segment_size = size;
    }

    // Whether a sync went wrong, or the file: nothing can be written any more.
    bool
    unusable() const {
        return unusable_;
    }

    // Transactions that came again and were dropped.
    uint64_t
    duplicate_transactions() const {
        return duplicate_transactions_;
    }
    // Of a torn tail, cut off at the start.
    uint64_t
    truncated_bytes() const {
        return truncated_bytes_;
    }

  private:
    bool
    has_streams() const {
        return streams_unknown_ || !streams_.empty();
    }
    void ContinueSpool(const SpoolScan &found);
    void BeginSpool();
    bool AppendBegin(Lsn lsn, std::string_view payload, Lsn commit_lsn);
    bool AppendCommit(Lsn lsn, std::string_view payload, const TransactionMark &mark);
    bool AppendStreamMark(Lsn lsn, std::string_view payload, const TransactionMark &mark);
    void AppendStreamStart(Lsn lsn, std::string_view payload, const TransactionMark &mark);
    bool AppendStreamCommit(Lsn lsn, std::string_view payload, const TransactionMark &mark);
    void AppendStreamAbort(Lsn lsn, std::string_view payload, const TransactionMark &mark);
    void Committed(Lsn end_lsn);
    void PutMessage(Lsn lsn, std::string_view payload);
    void PutReset();
    void PutInChunk(Lsn lsn, std::string_view payload);

    void MakeRoom(size_t size);
    void Put(RecordKind kind, Lsn lsn, std::string_view payload);
    void PutLong(RecordKind kind, Lsn lsn, std::string_view payload);
    bool WriteAsBlock(std::string_view records, Lsn lsn);
    void SealBuffer();
    void WriteThrough(std::string_view first, std::string_view second);
    void Rotate();
    void CreateSegment(uint64_t segment);
    void StartWriteback();
    void SyncFile();
    template <typename F> void SyncOrGiveUp(const F &sync);
    void CheckUsable() const;
    void CheckLength();
    void TruncateQuietly(uint64_t size) const;

    SpoolOptions options_;
    SpoolDirectory directory_;
    RelationRepeats relations_;

    // The segment being written: [synced_offset_, file_offset_) is written and not yet synced.
    File file_;
    uint64_t segment_ = 0;
    uint32_t seed_ = 0;
    uint64_t file_offset_ = 0;
    uint64_t synced_offset_ = 0;
    uint64_t writeback_offset_ = 0; // below it the system is at it, or done
    std::unique_ptr<char[]> buffer_;
    size_t buffered_ = 0;
    bool blocks_ = false; // records are gathered unsealed, for a block
    BlockCompressor compressor_;
    std::string long_record_; // while it is made a block
    // Sizes of the segments before it, the last being segment_ - 1: those not known to be pruned.
    std::deque<uint64_t> finished_sizes_;
    uint64_t finished_bytes_ = 0;
    bool unusable_ = false; // a sync went wrong

    // The stream.
    bool in_transaction_ = false;
    bool dropping_ = false;
    Lsn last_commit_end_lsn_;          // of the last whole transaction,
    uint64_t last_commit_segment_ = 0; // and where its commit is; 0: it is not here
    Lsn begin_commit_lsn_; // of the transaction that is open; invalid if its Begin was not seen
    Lsn last_end_lsn_;
    Lsn synced_end_lsn_;
    // Streamed transactions that are open, and the segment where each begins.
    std::map<uint32_t, uint64_t> streams_;
    bool streams_unknown_ = false; // there may be others, of before the spool was opened
    uint32_t chunk_xid_ = 0;       // whose chunk is open; 0: none
    uint64_t chunk_segment_ = 0;   // the latest that has a stream start of that chunk

    uint64_t duplicate_transactions_ = 0;
    uint64_t truncated_bytes_ = 0;
};

} // namespace livemigrate
