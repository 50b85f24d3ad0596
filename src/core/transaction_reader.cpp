#include "core/transaction_reader.hpp"

#include "core/error.hpp"
#include "core/interrupt_check.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace livemigrate {

namespace {

std::string
Describe(const SpoolPosition &position) {
    return "spool segment " + SegmentName(position.segment) + ", offset " +
           std::to_string(position.offset);
}

[[noreturn]] void
ThrowOutOfOrder(const char *what) {
    throw Error(sqlstate::kProtocolViolation, what);
}

} // namespace

TransactionReader::TransactionReader(SpoolReader &reader, ChangeDecoder &decoder, Lsn start_after,
                                     void (*check_interrupts)())
    : reader_(reader), decoder_(decoder), start_after_(start_after),
      check_interrupts_(check_interrupts) {}

TransactionReader::Step
TransactionReader::Next(SpoolPosition limit, Change &change) {
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
    return std::exchange(state_, State::kOutside) == State::kSurfaced ? Step::kReset
                                                                      : Step::kNothing;
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
        throw Error(sqlstate::kDataCorrupted,
                    state == State::kHeadless
                        ? "spool does not reach back to the first transaction to apply"
                        : "start position lies inside a commit record")
            .Detail("Apply starts after " + start_after_.ToString() + ", the transaction ends at " +
                    change.end_lsn.ToString() + ".")
            .Hint("The migration must be started anew.");
    }
    ++skipped_transactions_;
    return Step::kNothing;
}

} // namespace livemigrate
