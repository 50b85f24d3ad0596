#include "core/spool_recovery.hpp"

#include "core/error.hpp"
#include "core/interrupt_check.hpp"
#include "core/segment_reader.hpp"

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace livemigrate {

namespace {

// The files are sound and yet too short for what the slot has confirmed.
constexpr char kGapHint[] =
    "The slot was made again or moved on by somebody else, or the files were cut, or replaced by "
    "an older copy. The changes between are lost, so start over: SELECT "
    "livemigrate.migration_abort();";

[[noreturn]] void
ThrowDamaged(const SegmentReader &reader, uint64_t offset, std::string detail) {
    throw Error(sqlstate::kDataCorrupted, "spool segment \"" + reader.file().path() +
                                              "\" is damaged at offset " + std::to_string(offset))
        .Detail(std::move(detail))
        .Hint(kDamageHint);
}

// Follows the stream through the records, as the writer did when it wrote them.
class Scan {
  public:
    Scan(const SpoolDirectory &directory, const SpoolOptions &options)
        : directory_(directory), options_(options), check_(options.check_interrupts) {}

    SpoolScan Run();

  private:
    std::optional<SegmentReader> Open(uint64_t segment);
    void Enter(const SegmentReader &reader);
    uint64_t ReadRecords(SegmentReader &reader);
    void Follow(const SegmentReader &reader, const SpoolRecord &record);
    void FollowMessage(const SegmentReader &reader, const SpoolRecord &record);
    void FollowCommit(const SegmentReader &reader, const TransactionMark &mark);
    void CheckConfirmed() const;

    const SpoolDirectory &directory_;
    const SpoolOptions &options_;
    InterruptCheck check_;
    SpoolScan found_;
    // Of the segment before the one entered; 0 if there is none.
    uint64_t size_before_ = 0;
    bool followed_ = false; // found_ tells how its stream ended
};

SpoolScan
Scan::Run() {
    std::vector<uint64_t> segments = directory_.Segments();
    if (!segments.empty() && Open(segments.back())->IsTornCreation()) { // it is never pruned
        found_.torn_segment = segments.back();
        segments.pop_back();
    }
    for (uint64_t segment : segments) {
        std::optional<SegmentReader> opened = Open(segment);
        if (!opened) {
            continue;
        }
        SegmentReader &reader = *opened;
        reader.Require(options_.identity);
        Enter(reader);
        size_before_ = reader.file().Size();
        const bool newest = segment == segments.back();
        if (!newest) {
            found_.finished_sizes.push_back(size_before_);
        }
        followed_ = newest || options_.verify_all;
        if (!followed_) {
            check_.Step(0);
            continue;
        }
        found_.torn_bytes = ReadRecords(reader);
        // A segment is synced before the next is created, however far that came.
        const bool may_be_torn = newest && found_.torn_segment == 0;
        if (!may_be_torn && found_.torn_bytes > 0) {
            ThrowDamaged(reader, reader.offset(), "No intact record begins there.");
        }
        found_.end = {segment, reader.offset()};
        found_.seed = reader.seed();
        found_.blocks = reader.header().blocks;
    }
    CheckConfirmed();
    if (!options_.verify_all && found_.last_commit_segment == 0 && found_.end.segment != 0) {
        // It is in a segment that was not read: taken to be at the end, which asks too much of
        // apply and not too little.
        found_.last_commit_segment = found_.end.segment;
        found_.last_commit_end_lsn = found_.last_end_lsn;
    }
    return found_;
}

// Nothing if apply has pruned the segment, and so all before it, since they were listed.
std::optional<SegmentReader>
Scan::Open(uint64_t segment) {
    if (std::optional<File> file = directory_.OpenForReading(segment)) {
        return SegmentReader(std::move(*file), segment);
    }
    const std::vector<uint64_t> left = directory_.Segments();
    if (left.empty() || left.front() < segment) {
        throw Error(sqlstate::kDataCorrupted,
                    "spool segment \"" + directory_.SegmentPath(segment) + "\" is missing")
            .Hint(kDamageHint);
    }
    found_.finished_sizes.clear();
    size_before_ = 0;
    followed_ = false;
    return std::nullopt;
}

// A segment's header tells what the stream was at when the segment was begun: where the scan
// begins, or what it must have come to.
void
Scan::Enter(const SegmentReader &reader) {
    const SegmentHeader &header = reader.header();
    const bool fits_size = size_before_ == 0 || header.previous_size == size_before_;
    const bool fits_stream = !followed_ || (header.base_lsn == found_.last_end_lsn &&
                                            header.in_transaction == found_.in_transaction);
    if (!fits_size || !fits_stream) {
        ThrowDamaged(reader, 0, "It does not continue the segment before it.");
    }
    found_.last_end_lsn = header.base_lsn;
    found_.in_transaction = header.in_transaction;
    found_.streamed = found_.streamed || header.streamed;
}

// Returns how many bytes follow the last intact record.
uint64_t
Scan::ReadRecords(SegmentReader &reader) {
    const uint64_t size = reader.file().Size();
    SpoolRecord record;
    while (reader.Next(size, record) == SegmentReader::Result::kRecord) {
        Follow(reader, record);
        check_.Step(record.payload.size());
    }
    return size - reader.offset();
}

void
Scan::Follow(const SegmentReader &reader, const SpoolRecord &record) {
    switch (record.kind) {
    case RecordKind::kMessage:
        FollowMessage(reader, record);
        return;
    case RecordKind::kReset:
        found_.in_transaction = false;
        found_.streamed = false;
        return;
    case RecordKind::kPosition:
        found_.last_end_lsn = record.lsn;
        return;
    case RecordKind::kBlock: // never handed out
        return;
    }
}

void
Scan::FollowMessage(const SegmentReader &reader, const SpoolRecord &record) {
    const TransactionMark mark = MarkPayload(options_, record.payload);
    switch (mark.kind) {
    case TransactionMark::Kind::kNone:
    case TransactionMark::Kind::kStreamStop:
    case TransactionMark::Kind::kStreamAbort:
        return;
    case TransactionMark::Kind::kStreamStart:
        found_.streamed = true;
        return;
    case TransactionMark::Kind::kStreamCommit:
        FollowCommit(reader, mark);
        return;
    case TransactionMark::Kind::kBegin:
    case TransactionMark::Kind::kCommit:
        break;
    }
    const bool begins = mark.kind == TransactionMark::Kind::kBegin;
    if (begins == found_.in_transaction) {
        ThrowDamaged(reader, record.position.offset,
                     begins ? "A transaction begins inside another."
                            : "A transaction ends that did not begin.");
    }
    found_.in_transaction = begins;
    if (!begins) {
        FollowCommit(reader, mark);
    }
}

void
Scan::FollowCommit(const SegmentReader &reader, const TransactionMark &mark) {
    found_.last_end_lsn = mark.end_lsn;
    found_.last_commit_end_lsn = mark.end_lsn;
    found_.last_commit_segment = reader.segment();
}

void
Scan::CheckConfirmed() const {
    if (found_.end.segment == 0 || found_.last_end_lsn >= options_.confirmed_flush_lsn) {
        return;
    }
    throw Error(sqlstate::kDataCorrupted, "spool \"" + directory_.path() + "\" ends at " +
                                              found_.last_end_lsn.ToString() +
                                              ", before what the source was told is safe")
        .Detail("The replication slot has confirmed " + options_.confirmed_flush_lsn.ToString() +
                "; behind the last intact record, in segment \"" +
                directory_.SegmentPath(found_.end.segment) + "\" at offset " +
                std::to_string(found_.end.offset) + ", there are " +
                std::to_string(found_.torn_bytes) + " bytes more.")
        .Hint(found_.torn_bytes != 0 ? kDamageHint : kGapHint);
}

} // namespace

SpoolScan
ScanSpool(const SpoolDirectory &directory, const SpoolOptions &options) {
    return Scan(directory, options).Run();
}

} // namespace livemigrate
