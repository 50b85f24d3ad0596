// The spool as apply sees it: decoded changes, transaction by transaction, each once.
//
// Transactions that the origin says are applied, messages that need no applying, and transactions
// taken back before they were surfaced are passed over silently. The decoder is shown every message
// even so: pgoutput describes a relation once per connection, inside any transaction.
//
// A streamed transaction is surfaced like any other, when its stream commit is reached: that one's
// positions are in its Begin, and its chunks are read again (core/streamed_transaction). Where the
// caller allows it, it is surfaced early, chunk by chunk as they come, in the hope that nothing
// comes between and all of it commits; else a reset takes that back.
//
// Errors: those of SpoolReader and the decoder; 08P01 for messages out of order (Begin inside a
// transaction, a change or Commit outside one, a Commit that does not fit its Begin); XX001 if the
// spool begins inside a transaction that is not applied. After an exception the object must be
// given up, and a new reader started from the origin.
#pragma once

#include "core/change.hpp"
#include "core/spool_reader.hpp"
#include "core/streamed_transaction.hpp"

#include <cstdint>
#include <map>
#include <optional>

namespace livemigrate {

class TransactionReader {
  public:
    enum class Step : uint8_t {
        kNothing, // no record below the limit
        kBegin,   // change: as decoded
        kChange,
        kCommit,
        kReset, // throw away what has come since the begin; the transaction comes again, or never
        kBeginEarly,  // of a streamed transaction. change: xid, and a position before its commit
        kCommitEarly, // change: as decoded. Take it with AcceptEarly(), or see DropEarly()
    };

    // `start_after` is the origin's progress: a transaction with end_lsn <= start_after has been
    // applied. Decided at its Begin, since its commit_lsn is then below start_after, and that of
    // any later transaction is not. `check_interrupts` is called now and then while nothing
    // surfaces, and may throw. reader and decoder must outlive this object and be new to their
    // stream.
    TransactionReader(SpoolReader &reader, ChangeDecoder &decoder, Lsn start_after,
                      void (*check_interrupts)() = nullptr);

    // `change` is valid until the next call, and set for kBegin, kChange and kCommit.
    Step Next(SpoolPosition limit, Change &change);

    // Whether streamed transactions may be surfaced early from now on.
    void
    AllowEarly(bool allowed) {
        early_allowed_ = allowed;
    }
    // What kCommitEarly ended counts as surfaced.
    void AcceptEarly();
    // The caller has thrown away what it has of the transaction that is surfaced early. It comes
    // again when it commits; at once, if kCommitEarly was the last step.
    void DropEarly();

    // Back to the Begin that was surfaced last, which Next() then surfaces again. REQUIRES: a Begin
    // was, its Commit was not, and Next() has returned nothing else than kChange since.
    void Rewind();

    // Behind the last record read, or where the first streamed transaction begins that is open
    // there. After kCommit: where reading may begin once that is flushed on the target, so what
    // FlushPositions wants.
    SpoolPosition position() const;
    // Of the Begin, or first chunk, of the transaction that is being surfaced, or was last.
    SpoolPosition
    transaction_begin_position() const {
        return begin_position_;
    }
    // Everything that commits before it has been read: the end of the last transaction or a
    // position that the receiver recorded while the source was idle. For endpos, and for the origin
    // of nothing.
    Lsn
    stream_lsn() const {
        return stream_lsn_;
    }

    uint64_t
    skipped_transactions() const {
        return skipped_transactions_;
    }

  private:
    enum class State : uint8_t {
        kOutside,
        kSurfaced, // inside a transaction that the caller sees
        kSkipped,  // inside one that is applied
        kHeadless, // inside one whose Begin is in a segment no longer there: it must be applied
        kChunk,    // inside a chunk of a streamed one, which is passed over for now
    };

    // What the caller is told of a record; kNothing for those it is not.
    Step Take(const SpoolRecord &record, Change &change);
    bool PassOver(const SpoolRecord &record);
    Step TakeReset();
    Step TakePosition(const SpoolRecord &record);
    Step TakeBegin(const SpoolRecord &record, const Change &change);
    Step TakeCommit(const Change &change);
    Step TakeStreamMark(const SpoolRecord &record, const TransactionMark &mark, Change &change);
    Step TakeStreamStart(const SpoolRecord &record, const TransactionMark &mark, Change &change);
    Step TakeStreamAbort(const TransactionMark &mark);
    Step TakeStreamCommit(const TransactionMark &mark, Change &change);
    Step TakeInChunk(const SpoolRecord &record, Change &change);
    Step ResetEarly();
    void EndStreamed();
    Step BeginStreamed(Change &change);
    Step NextStreamed(SpoolPosition limit, Change &change);
    [[noreturn]] void ThrowCannotStart(const char *message, Lsn end_lsn) const;

    SpoolReader &reader_;
    ChangeDecoder &decoder_;
    Lsn start_after_;
    void (*check_interrupts_)();

    bool started_ = false;
    State state_ = State::kOutside;
    Lsn begin_commit_lsn_;
    SpoolPosition begin_position_;
    // Records of one block have the same position: which of them the last one is, and the Begin.
    SpoolPosition last_position_;
    uint64_t ordinal_ = 0;
    uint64_t begin_ordinal_ = 0;
    uint64_t to_pass_over_ = 0; // records before the Begin that was gone back to
    // Streamed transactions that are open here.
    std::map<uint32_t, StreamedTransaction> streams_;
    uint32_t chunk_xid_ = 0; // of the chunk, in kChunk
    bool early_allowed_ = false;
    uint32_t early_xid_ = 0;      // of the transaction that is surfaced early
    std::optional<Change> begin_; // follows the kReset that was returned
    // The stream commit of the transaction that is being surfaced, if it is a streamed one; and
    // what reads it, from its Begin on.
    std::optional<TransactionMark> streamed_;
    std::optional<StreamedReader> streamed_reader_;
    Lsn stream_lsn_;
    uint64_t skipped_transactions_ = 0;
};

// The rule of endpos: a transaction whose end LSN lies beyond endpos is left out whole; one that
// ends at endpos, or before, is applied. An invalid endpos means there is none.
//
// The end is known at Commit only. Between commit_lsn and end_lsn lies just the commit record, so
// an endpos taken from the source falls there rarely, but it may: Begin can only tell what is
// surely left out, and who has applied such a transaction must roll it back when Commit says so.
constexpr bool
BeyondEndpos(Lsn commit_lsn, Lsn endpos) {
    return endpos.valid() && commit_lsn >= endpos;
}

constexpr bool
IncludedByEndpos(Lsn end_lsn, Lsn endpos) {
    return !endpos.valid() || end_lsn <= endpos;
}

} // namespace livemigrate
