#include "core/transaction_reader.hpp"

#include "core/error.hpp"
#include "core/interrupt_check.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace livemigrate {

namespace {

constexpr char kNotReachingBack[] = "spool does not reach back to the first transaction to apply";
constexpr char kInsideCommit[] = "start position lies inside a commit record";

std::string
Describe(const SpoolPosition &position) {
    return "spool segment " + SegmentName(position.segment) + ", offset " +
           std::to_string(position.offset);
}

[[noreturn]] void
ThrowOutOfOrder(const char *what) {
    throw Error(sqlstate::kProtocolViolation, what);
}

void
DescribeCommit(const TransactionMark &stream_commit, Change &change) {
    change.kind = ChangeKind::kCommit;
    change.commit_lsn = stream_commit.commit_lsn;
    change.end_lsn = stream_commit.end_lsn;
    change.commit_time = stream_commit.commit_time;
}

} // namespace

TransactionReader::TransactionReader(SpoolReader &reader, ChangeDecoder &decoder, Lsn start_after,
                                     void (*check_interrupts)())
    : reader_(reader), decoder_(decoder), start_after_(start_after),
      check_interrupts_(check_interrupts) {}

TransactionReader::Step
TransactionReader::Next(SpoolPosition limit, Change &change) {
    if (streamed_) {
        return streamed_reader_ ? NextStreamed(limit, change) : BeginStreamed(change);
    }
    if (begin_) {
        change = *std::exchange(begin_, std::nullopt);
        return Step::kBegin;
    }
    InterruptCheck check(check_interrupts_);
    SpoolRecord record;
    while (reader_.Next(limit, record)) {
        if (!started_) {
            started_ = true;
            state_ = reader_.began_inside_transaction() ? State::kHeadless : State::kOutside;
        }
        if (PassOver(record)) {
            continue;
        }
        try {
            const Step step = Take(record, change);
            if (step != Step::kNothing) {
                return step;
            }
        } catch (Error &error) {
            if (error.context().empty()) {
                throw std::move(error).Context(Describe(record.position));
            }
            throw;
        }
        check.Step(record.payload.size());
    }
    return Step::kNothing;
}

bool
TransactionReader::PassOver(const SpoolRecord &record) {
    ordinal_ = record.position == last_position_ ? ordinal_ + 1 : 0;
    last_position_ = record.position;
    if (to_pass_over_ == 0) {
        return false;
    }
    --to_pass_over_;
    return true;
}

void
TransactionReader::Rewind() {
    if (streamed_) {
        streamed_reader_.reset();
        return;
    }
    reader_.Rewind(begin_position_);
    decoder_.Rewind();
    to_pass_over_ = begin_ordinal_;
    last_position_ = {};
    state_ = State::kOutside;
}

TransactionReader::Step
TransactionReader::Take(const SpoolRecord &record, Change &change) {
    switch (record.kind) {
    case RecordKind::kReset:
        return TakeReset();
    case RecordKind::kPosition:
        return TakePosition(record);
    case RecordKind::kBlock: // never handed out
        return Step::kNothing;
    case RecordKind::kMessage:
        break;
    }
    const TransactionMark mark = decoder_.MarkStreamed(record.payload);
    if (mark.kind != TransactionMark::Kind::kNone) {
        return TakeStreamMark(record, mark, change);
    }
    if (state_ == State::kChunk) {
        return TakeInChunk(record, change);
    }
    decoder_.Decode(record.lsn, record.payload, change);
    switch (change.kind) {
    case ChangeKind::kIgnored:
        return Step::kNothing;
    case ChangeKind::kBegin:
        return TakeBegin(record, change);
    case ChangeKind::kCommit:
        return TakeCommit(change);
    default:
        break;
    }
    if (state_ == State::kOutside) {
        ThrowOutOfOrder("change outside a transaction");
    }
    return state_ == State::kSurfaced ? Step::kChange : Step::kNothing;
}

TransactionReader::Step
TransactionReader::TakeReset() {
    streams_.clear();
    chunk_xid_ = 0;
    const bool surfaced = std::exchange(state_, State::kOutside) == State::kSurfaced;
    return surfaced || std::exchange(early_xid_, 0) != 0 ? Step::kReset : Step::kNothing;
}

TransactionReader::Step
TransactionReader::TakePosition(const SpoolRecord &record) {
    if (state_ != State::kOutside) {
        ThrowOutOfOrder("position of an idle stream inside a transaction");
    }
    stream_lsn_ = std::max(stream_lsn_, record.lsn);
    return Step::kNothing;
}

TransactionReader::Step
TransactionReader::TakeBegin(const SpoolRecord &record, const Change &change) {
    if (state_ != State::kOutside) {
        ThrowOutOfOrder("transaction begins inside another");
    }
    begin_commit_lsn_ = change.commit_lsn;
    if (change.commit_lsn < start_after_) {
        state_ = State::kSkipped;
        return Step::kNothing;
    }
    state_ = State::kSurfaced;
    begin_position_ = record.position;
    begin_ordinal_ = ordinal_;
    decoder_.Mark();
    if (early_xid_ != 0) {
        begin_.emplace();
        begin_->kind = change.kind;
        begin_->commit_lsn = change.commit_lsn;
        begin_->commit_time = change.commit_time;
        begin_->xid = change.xid;
        return ResetEarly();
    }
    return Step::kBegin;
}

TransactionReader::Step
TransactionReader::TakeCommit(const Change &change) {
    const State state = std::exchange(state_, State::kOutside);
    if (state == State::kOutside) {
        ThrowOutOfOrder("transaction ends that did not begin");
    }
    if (change.end_lsn <= change.commit_lsn ||
        (state != State::kHeadless && change.commit_lsn != begin_commit_lsn_)) {
        ThrowOutOfOrder("end of a transaction does not fit its begin");
    }
    stream_lsn_ = std::max(stream_lsn_, change.end_lsn);
    if (state == State::kSurfaced) {
        // Should the spool hold it twice after all, it is surfaced once.
        start_after_ = change.end_lsn;
        return Step::kCommit;
    }
    if (change.end_lsn > start_after_) {
        ThrowCannotStart(state == State::kHeadless ? kNotReachingBack : kInsideCommit,
                         change.end_lsn);
    }
    ++skipped_transactions_;
    return Step::kNothing;
}

TransactionReader::Step
TransactionReader::TakeStreamMark(const SpoolRecord &record, const TransactionMark &mark,
                                  Change &change) {
    using Kind = TransactionMark::Kind;
    const bool goes_on = mark.kind == Kind::kStreamStop ||
                         (mark.kind == Kind::kStreamStart && mark.xid == chunk_xid_);
    if (state_ != (goes_on ? State::kChunk : State::kOutside)) {
        ThrowOutOfOrder("streamed transaction inside another");
    }
    switch (mark.kind) {
    case Kind::kStreamStart:
        return TakeStreamStart(record, mark, change);
    case Kind::kStreamAbort:
        return TakeStreamAbort(mark);
    case Kind::kStreamCommit:
        return TakeStreamCommit(mark, change);
    default:
        state_ = State::kOutside;
        chunk_xid_ = 0;
        return Step::kNothing;
    }
}

TransactionReader::Step
TransactionReader::TakeStreamStart(const SpoolRecord &record, const TransactionMark &mark,
                                   Change &change) {
    state_ = State::kChunk;
    chunk_xid_ = mark.xid;
    if (streams_.contains(mark.xid)) {
        return Step::kNothing;
    }
    StreamedTransaction &one = streams_[mark.xid];
    one.first = record.position;
    one.ordinal = ordinal_;
    one.whole = mark.first_chunk;
    if (!early_allowed_ || early_xid_ != 0 || !one.whole) {
        return Step::kNothing;
    }
    early_xid_ = mark.xid;
    begin_position_ = one.first;
    decoder_.BeginStreamed();
    change.kind = ChangeKind::kBegin;
    change.xid = mark.xid;
    change.commit_lsn = std::max(stream_lsn_, start_after_);
    return Step::kBeginEarly;
}

TransactionReader::Step
TransactionReader::TakeInChunk(const SpoolRecord &record, Change &change) {
    if (chunk_xid_ != early_xid_) {
        return Step::kNothing;
    }
    decoder_.DecodeStreamed(record.lsn, record.payload, change);
    return change.kind == ChangeKind::kIgnored ? Step::kNothing : Step::kChange;
}

TransactionReader::Step
TransactionReader::TakeStreamAbort(const TransactionMark &mark) {
    if (mark.subxid == mark.xid) {
        streams_.erase(mark.xid);
    } else if (const auto found = streams_.find(mark.xid); found != streams_.end()) {
        found->second.aborted.Insert(mark.subxid);
    }
    return mark.xid == early_xid_ ? ResetEarly() : Step::kNothing;
}

TransactionReader::Step
TransactionReader::TakeStreamCommit(const TransactionMark &mark, Change &change) {
    const auto found = streams_.find(mark.xid);
    stream_lsn_ = std::max(stream_lsn_, mark.end_lsn);
    if (mark.commit_lsn < start_after_) {
        if (mark.end_lsn > start_after_) {
            ThrowCannotStart(kInsideCommit, mark.end_lsn);
        }
        if (found != streams_.end()) {
            streams_.erase(found);
        }
        ++skipped_transactions_;
        return mark.xid == early_xid_ ? ResetEarly() : Step::kNothing;
    }
    if (found == streams_.end() || !found->second.whole) {
        ThrowCannotStart(kNotReachingBack, mark.end_lsn);
    }
    streamed_ = mark;
    if (mark.xid == early_xid_) {
        DescribeCommit(mark, change);
        return Step::kCommitEarly;
    }
    return early_xid_ != 0 ? ResetEarly() : BeginStreamed(change);
}

TransactionReader::Step
TransactionReader::ResetEarly() {
    early_xid_ = 0;
    return Step::kReset;
}

void
TransactionReader::DropEarly() {
    early_xid_ = 0;
}

void
TransactionReader::AcceptEarly() {
    early_xid_ = 0;
    EndStreamed();
}

void
TransactionReader::EndStreamed() {
    start_after_ = streamed_->end_lsn;
    streamed_reader_.reset();
    streams_.erase(streamed_->xid);
    streamed_.reset();
}

TransactionReader::Step
TransactionReader::BeginStreamed(Change &change) {
    const StreamedTransaction &one = streams_.at(streamed_->xid);
    streamed_reader_.emplace(reader_.At(one.first), streamed_->xid, one, decoder_,
                             check_interrupts_);
    begin_position_ = one.first;
    change.kind = ChangeKind::kBegin;
    change.commit_lsn = streamed_->commit_lsn;
    change.commit_time = streamed_->commit_time;
    change.xid = streamed_->xid;
    return Step::kBegin;
}

TransactionReader::Step
TransactionReader::NextStreamed(SpoolPosition limit, Change &change) {
    if (streamed_reader_->Next(limit, change)) {
        return Step::kChange;
    }
    DescribeCommit(*streamed_, change);
    EndStreamed();
    return Step::kCommit;
}

SpoolPosition
TransactionReader::position() const {
    SpoolPosition position = reader_.position();
    for (const auto &[xid, one] : streams_) {
        position = std::min(position, one.first);
    }
    return position;
}

void
TransactionReader::ThrowCannotStart(const char *message, Lsn end_lsn) const {
    throw Error(sqlstate::kDataCorrupted, message)
        .Detail("Apply starts after " + start_after_.ToString() + ", the transaction ends at " +
                end_lsn.ToString() + ".")
        .Hint("Start over: SELECT livemigrate.migration_abort();");
}

} // namespace livemigrate
