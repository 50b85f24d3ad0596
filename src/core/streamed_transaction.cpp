#include "core/streamed_transaction.hpp"

#include "core/error.hpp"
#include "core/interrupt_check.hpp"

#include <string>
#include <utility>

namespace livemigrate {

using Mark = TransactionMark::Kind;

void
XidSet::Insert(uint32_t xid) {
    blocks_[xid / kBlockIds].set(xid % kBlockIds);
}

bool
XidSet::Contains(uint32_t xid) const {
    const auto found = blocks_.find(xid / kBlockIds);
    return found != blocks_.end() && found->second.test(xid % kBlockIds);
}

StreamedReader::StreamedReader(SpoolReader spool, uint32_t xid,
                               const StreamedTransaction &transaction, ChangeDecoder &decoder,
                               void (*check_interrupts)())
    : spool_(std::move(spool)), xid_(xid), transaction_(transaction), decoder_(decoder),
      check_interrupts_(check_interrupts), to_pass_over_(transaction.ordinal) {
    decoder_.BeginStreamed();
}

bool
StreamedReader::Next(SpoolPosition limit, Change &change) {
    InterruptCheck check(check_interrupts_);
    SpoolRecord record;
    while (spool_.Next(limit, record)) {
        check.Step(record.payload.size());
        if (to_pass_over_ > 0) {
            --to_pass_over_;
            continue;
        }
        if (record.kind != RecordKind::kMessage) {
            continue;
        }
        const TransactionMark mark = decoder_.MarkStreamed(record.payload);
        if (mark.kind == Mark::kStreamStart) {
            chunk_xid_ = mark.xid;
        } else if (mark.kind == Mark::kStreamStop) {
            chunk_xid_ = 0;
        } else if (mark.kind == Mark::kStreamCommit && mark.xid == xid_) {
            return false;
        } else if (mark.kind == Mark::kNone && chunk_xid_ == xid_) {
            decoder_.DecodeStreamed(record.lsn, record.payload, change);
            if (change.kind != ChangeKind::kIgnored && !transaction_.aborted.Contains(change.xid)) {
                return true;
            }
        }
    }
    throw Error(sqlstate::kDataCorrupted,
                "spool does not hold the end of streamed transaction " + std::to_string(xid_));
}

} // namespace livemigrate
