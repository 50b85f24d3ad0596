#include "core/spool_writer.hpp"

#include "core/buffer_size.hpp"
#include "core/error.hpp"
#include "core/pgoutput_decoder.hpp"
#include "core/spool_recovery.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace livemigrate {

namespace {

constexpr size_t kBufferSize = BufferSize(256 << 10);
// What is written to the disk at once, before a sync asks for it.
constexpr uint64_t kWritebackBytes = 1 << 20;

[[noreturn]] void
ThrowProtocolViolation(const char *what, Lsn lsn) {
    throw Error(sqlstate::kProtocolViolation, std::string(what) + " at " + lsn.ToString());
}

[[noreturn]] void
ThrowEmpty(const std::string &directory) {
    throw Error(sqlstate::kObjectNotInPrerequisiteState,
                "spool directory \"" + directory + "\" is empty")
        .Detail("Changes have been received already, so there should be a spool.")
        .Hint("If its volume is not mounted, mount it. Without the spool the migration must be "
              "started anew.");
}

} // namespace

SpoolWriter::SpoolWriter(SpoolOptions options)
    : options_(std::move(options)), directory_(options_.directory),
      relations_(options_.identity.plugin), buffer_(new char[kBufferSize]) {
    directory_.Lock();
    const SpoolScan found = ScanSpool(directory_, options_);
    if (found.torn_segment != 0) {
        directory_.Remove(found.torn_segment);
    }
    if (found.end.segment != 0) {
        ContinueSpool(found);
    } else if (options_.create || found.torn_segment != 0) {
        BeginSpool();
    } else {
        ThrowEmpty(directory_.path());
    }
    synced_end_lsn_ = last_end_lsn_;
}

SpoolWriter::~SpoolWriter() = default;

void
SpoolWriter::BeginSpool() {
    if (options_.start_lsn < options_.confirmed_flush_lsn) {
        ThrowEmpty(directory_.path()); // there has been one
    }
    last_end_lsn_ = options_.start_lsn;
    CreateSegment(1);
}

void
SpoolWriter::ContinueSpool(const SpoolScan &found) {
    file_ = directory_.OpenForWriting(found.end.segment);
    segment_ = found.end.segment;
    seed_ = found.seed;
    blocks_ = found.blocks && options_.compress;
    file_offset_ = found.end.offset;
    in_transaction_ = found.in_transaction;
    last_end_lsn_ = found.last_end_lsn;
    last_commit_end_lsn_ = found.last_commit_end_lsn;
    last_commit_segment_ = found.last_commit_segment;
    for (uint64_t size : found.finished_sizes) {
        finished_sizes_.push_back(size);
        finished_bytes_ += size;
    }
    if (found.torn_bytes > 0) {
        file_.Truncate(file_offset_);
        truncated_bytes_ = found.torn_bytes;
    }
    // What the crashed writer left need not be on the disk, nor the names of its files.
    file_.SyncData();
    directory_.Sync();
    synced_offset_ = file_offset_;
    streams_unknown_ = found.streamed;
    AppendReset();
    Sync();
}

bool
SpoolWriter::Append(Lsn lsn, std::string_view payload) {
    if (payload.size() > kMaxPayloadSize) {
        ThrowProtocolViolation("message is too long", lsn);
    }
    const TransactionMark mark = MarkPayload(options_, payload);
    switch (mark.kind) {
    case TransactionMark::Kind::kBegin:
        return AppendBegin(lsn, payload, mark.commit_lsn);
    case TransactionMark::Kind::kCommit:
        return AppendCommit(lsn, payload, mark);
    case TransactionMark::Kind::kNone:
        break;
    default:
        return AppendStreamMark(lsn, payload, mark);
    }
    if (chunk_xid_ != 0) {
        PutInChunk(lsn, payload);
        relations_.RememberStreamed(chunk_xid_, payload);
        return true;
    }
    if (dropping_) {
        relations_.Remember(payload);
        return false;
    }
    PutMessage(lsn, payload);
    return true;
}

bool
SpoolWriter::AppendBegin(Lsn lsn, std::string_view payload, Lsn commit_lsn) {
    if (in_transaction()) {
        ThrowProtocolViolation("transaction begins inside another", lsn);
    }
    if (commit_lsn < last_end_lsn_) {
        dropping_ = true;
        ++duplicate_transactions_;
    } else {
        PutMessage(lsn, payload);
        in_transaction_ = true;
    }
    begin_commit_lsn_ = commit_lsn;
    return in_transaction_;
}

bool
SpoolWriter::AppendCommit(Lsn lsn, std::string_view payload, const TransactionMark &mark) {
    if (!in_transaction() || chunk_xid_ != 0) {
        ThrowProtocolViolation("transaction ends that did not begin", lsn);
    }
    if (mark.commit_lsn != begin_commit_lsn_ || mark.end_lsn <= mark.commit_lsn) {
        ThrowProtocolViolation("end of a transaction does not fit its begin", lsn);
    }
    if (dropping_) {
        if (mark.end_lsn > last_end_lsn_) {
            ThrowProtocolViolation("transaction sent again ends elsewhere", lsn);
        }
        dropping_ = false;
        return false;
    }
    PutMessage(lsn, payload);
    in_transaction_ = false;
    Committed(mark.end_lsn);
    return true;
}

void
SpoolWriter::Committed(Lsn end_lsn) {
    last_end_lsn_ = end_lsn;
    last_commit_end_lsn_ = end_lsn;
    last_commit_segment_ = segment_;
}

bool
SpoolWriter::AppendStreamMark(Lsn lsn, std::string_view payload, const TransactionMark &mark) {
    const bool stops = mark.kind == TransactionMark::Kind::kStreamStop;
    if (stops ? chunk_xid_ == 0 : in_transaction()) {
        ThrowProtocolViolation(stops ? "chunk of a streamed transaction ends that did not begin"
                                     : "streamed transaction inside another",
                               lsn);
    }
    switch (mark.kind) {
    case TransactionMark::Kind::kStreamStart:
        AppendStreamStart(lsn, payload, mark);
        return true;
    case TransactionMark::Kind::kStreamCommit:
        return AppendStreamCommit(lsn, payload, mark);
    case TransactionMark::Kind::kStreamAbort:
        AppendStreamAbort(lsn, payload, mark);
        return true;
    default:
        PutInChunk(lsn, payload);
        chunk_xid_ = 0;
        return true;
    }
}

void
SpoolWriter::AppendStreamStart(Lsn lsn, std::string_view payload, const TransactionMark &mark) {
    if (mark.first_chunk == streams_.contains(mark.xid)) {
        ThrowProtocolViolation(mark.first_chunk ? "streamed transaction begins twice"
                                                : "streamed transaction goes on that did not begin",
                               lsn);
    }
    PutMessage(lsn, payload);
    streams_.emplace(mark.xid, segment_);
    chunk_xid_ = mark.xid;
    chunk_segment_ = segment_;
}

bool
SpoolWriter::AppendStreamCommit(Lsn lsn, std::string_view payload, const TransactionMark &mark) {
    if (!streams_.contains(mark.xid)) {
        ThrowProtocolViolation("streamed transaction ends that did not begin", lsn);
    }
    const bool repeated = mark.commit_lsn < last_end_lsn_;
    if (!repeated) {
        PutMessage(lsn, payload);
        Committed(mark.end_lsn);
    } else if (mark.end_lsn > last_end_lsn_) {
        ThrowProtocolViolation("transaction sent again ends elsewhere", lsn);
    } else {
        PutMessage(lsn, BuildStreamAbort(mark.xid));
        ++duplicate_transactions_;
    }
    streams_.erase(mark.xid);
    relations_.StreamCommitted(mark.xid);
    return !repeated;
}

void
SpoolWriter::AppendStreamAbort(Lsn lsn, std::string_view payload, const TransactionMark &mark) {
    PutMessage(lsn, payload);
    if (mark.subxid == mark.xid) {
        streams_.erase(mark.xid);
        relations_.StreamAborted(mark.xid);
    }
}

void
SpoolWriter::AppendReset() {
    if (in_transaction_ || has_streams()) {
        PutReset();
    }
    relations_.Clear();
    streams_.clear();
    streams_unknown_ = false;
    chunk_xid_ = 0;
    in_transaction_ = false;
    dropping_ = false;
}

void
SpoolWriter::PutReset() {
    MakeRoom(kRecordHeaderSize);
    Put(RecordKind::kReset, last_end_lsn_, {});
}

void
SpoolWriter::AppendPosition(Lsn lsn) {
    if (in_transaction() || lsn <= last_end_lsn_) {
        return;
    }
    MakeRoom(kRecordHeaderSize);
    Put(RecordKind::kPosition, lsn, {});
    last_end_lsn_ = lsn;
}

// Writes `payload`, and before it the descriptions of relations that its segment lacks.
void
SpoolWriter::PutMessage(Lsn lsn, std::string_view payload) {
    const std::vector<std::string_view> *missing = &relations_.Missing(payload, segment_);
    size_t size = kRecordHeaderSize + payload.size();
    for (std::string_view description : *missing) {
        size += kRecordHeaderSize + description.size();
    }
    const uint64_t segment = segment_;
    MakeRoom(size);
    if (segment_ != segment) {
        missing = &relations_.Missing(payload, segment_);
    }
    for (std::string_view description : *missing) {
        Put(RecordKind::kMessage, lsn, description);
    }
    Put(RecordKind::kMessage, lsn, payload);
    relations_.Written(payload, segment_);
}

// Writes `payload`, which stands in a chunk, and before it what says so if its segment does not.
void
SpoolWriter::PutInChunk(Lsn lsn, std::string_view payload) {
    const std::string start = BuildStreamStart(chunk_xid_);
    MakeRoom(2 * kRecordHeaderSize + start.size() + payload.size());
    if (chunk_segment_ != segment_) {
        Put(RecordKind::kMessage, lsn, start);
        chunk_segment_ = segment_;
    }
    Put(RecordKind::kMessage, lsn, payload);
}

// Begins a new segment if `size` bytes more would make this one too long. A segment always takes
// one message, whatever its size.
void
SpoolWriter::MakeRoom(size_t size) {
    const uint64_t end = file_offset_ + buffered_;
    if (end > kSegmentHeaderSize && end + size > options_.segment_size) {
        Rotate();
    }
}

void
SpoolWriter::Put(RecordKind kind, Lsn lsn, std::string_view payload) {
    const size_t size = kRecordHeaderSize + payload.size();
    if (size > kBufferSize - buffered_) {
        Flush();
    }
    if (size > kBufferSize) {
        PutLong(kind, lsn, payload);
        return;
    }
    char *out = buffer_.get() + buffered_;
    if (!payload.empty()) {
        std::memcpy(out + kRecordHeaderSize, payload.data(), payload.size());
        payload = std::string_view(out + kRecordHeaderSize, payload.size());
    }
    if (blocks_) {
        EncodeUnsealedHeader(kind, lsn, payload.size(), out);
    } else {
        EncodeRecordHeader(seed_, file_offset_ + buffered_, kind, lsn, payload, out);
    }
    buffered_ += size;
}

// A record that does not fit the buffer, which is empty.
void
SpoolWriter::PutLong(RecordKind kind, Lsn lsn, std::string_view payload) {
    char header[kRecordHeaderSize];
    if (blocks_ && sizeof(header) + payload.size() <= kMaxBlockSize) {
        EncodeUnsealedHeader(kind, lsn, payload.size(), header);
        long_record_.assign(header, sizeof(header)).append(payload);
        const bool written = WriteAsBlock(long_record_, lsn);
        long_record_ = std::string();
        if (written) {
            return;
        }
    }
    EncodeRecordHeader(seed_, file_offset_, kind, lsn, payload, header);
    WriteThrough(std::string_view(header, sizeof(header)), payload);
}

void
SpoolWriter::Flush() {
    if (buffered_ == 0) {
        return;
    }
    const std::string_view records(buffer_.get(), buffered_);
    if (!blocks_) {
        WriteThrough(records, {});
    } else if (!WriteAsBlock(records, DecodeRecordHeader(records.data()).lsn)) {
        SealBuffer();
        WriteThrough(records, {});
    }
    buffered_ = 0;
}

// False, with nothing written, if compressing does not pay.
bool
SpoolWriter::WriteAsBlock(std::string_view records, Lsn lsn) {
    const std::string_view block = compressor_.Compress(records);
    if (block.empty()) {
        return false;
    }
    char header[kRecordHeaderSize];
    EncodeRecordHeader(seed_, file_offset_, RecordKind::kBlock, lsn, block, header);
    WriteThrough(std::string_view(header, sizeof(header)), block);
    return true;
}

void
SpoolWriter::SealBuffer() {
    for (size_t at = 0; at < buffered_;) {
        char *record = buffer_.get() + at;
        const size_t length = DecodeRecordHeader(record).length;
        SealRecord(seed_, file_offset_ + at, length, record);
        at += kRecordHeaderSize + length;
    }
}

// All or nothing: what a failed write left is cut off, or overwritten by the next.
void
SpoolWriter::WriteThrough(std::string_view first, std::string_view second) {
    CheckUsable();
    CheckLength();
    try {
        file_.WriteAt(file_offset_, first, second);
    } catch (const Error &) {
        TruncateQuietly(file_offset_);
        throw;
    }
    file_offset_ += first.size() + second.size();
    StartWriteback();
}

// What is on its way to the disk already does not keep the next sync waiting.
void
SpoolWriter::StartWriteback() {
    writeback_offset_ = std::max(writeback_offset_, synced_offset_);
    if (file_offset_ - writeback_offset_ < kWritebackBytes) {
        return;
    }
    SyncOrGiveUp(
        [&] { file_.StartWriteback(writeback_offset_, file_offset_ - writeback_offset_); });
    writeback_offset_ = file_offset_;
}

Lsn
SpoolWriter::Sync() {
    CheckUsable();
    CheckLength();
    Flush();
    if (file_offset_ != synced_offset_) {
        SyncFile();
    }
    synced_end_lsn_ = last_end_lsn_;
    return synced_end_lsn_;
}

void
SpoolWriter::SyncFile() {
    CheckUsable();
    SyncOrGiveUp([&] { file_.SyncData(); });
    synced_offset_ = file_offset_;
}

// After a failed fsync the kernel may call the pages clean though they are not on the disk, and the
// next fsync would succeed. So they are taken out of the file: the source sends them again.
template <typename F>
void
SpoolWriter::SyncOrGiveUp(const F &sync) {
    try {
        sync();
    } catch (const Error &) {
        unusable_ = true;
        TruncateQuietly(synced_offset_);
        throw;
    }
}

void
SpoolWriter::CheckUsable() const {
    if (unusable_) {
        throw Error(sqlstate::kIoError,
                    "spool \"" + directory_.path() + "\" must be opened again after a failed sync");
    }
}

// A write behind what is missing would leave a hole, and without one nobody would tell: readers
// wait for us, who may have cut it. REQUIRES: usable, so that we have not.
void
SpoolWriter::CheckLength() {
    const uint64_t size = file_.Size();
    if (size >= file_offset_) {
        return;
    }
    unusable_ = true;
    throw Error(sqlstate::kDataCorrupted, "spool segment \"" + file_.path() +
                                              "\" has been cut off at offset " +
                                              std::to_string(size))
        .Detail("It was " + std::to_string(file_offset_) +
                " bytes long, and not livemigrate has cut it.")
        .Hint("If there is an intact copy of the file, put it back. Then run: SELECT "
              "livemigrate.migration_resume(); what the source still has it sends again, and if "
              "changes are lost the error says so.");
}

void
SpoolWriter::TruncateQuietly(uint64_t size) const {
    try {
        file_.Truncate(size);
    } catch (const Error &) {
        // The error that brought us here says more; Rotate() and the next start cut again.
    }
}

void
SpoolWriter::Rotate() {
    Flush();
    CheckLength();
    file_.Truncate(file_offset_); // a failed write may have left bytes that could not be cut off
    SyncFile();
    synced_end_lsn_ = last_end_lsn_;
    const uint64_t size = file_offset_;
    CreateSegment(segment_ + 1);
    finished_sizes_.push_back(size);
    finished_bytes_ += size;
}

uint64_t
SpoolWriter::bytes_on_disk() {
    while (!finished_sizes_.empty() && !directory_.Exists(segment_ - finished_sizes_.size())) {
        finished_bytes_ -= finished_sizes_.front();
        finished_sizes_.pop_front();
    }
    return finished_bytes_ + file_offset_;
}

bool
SpoolWriter::ApplyMakesRoom(Lsn applied_flushed) const {
    const uint64_t oldest = segment_ - finished_sizes_.size();
    uint64_t needed = last_commit_segment_;
    for (const auto &[xid, first] : streams_) {
        needed = std::min(needed, first);
    }
    return oldest < needed && applied_flushed < last_commit_end_lsn_;
}

void
SpoolWriter::CreateSegment(uint64_t segment) {
    const SegmentHeaderBytes header = EncodeSegmentHeader({.identity = options_.identity,
                                                           .segment = segment,
                                                           .base_lsn = last_end_lsn_,
                                                           .in_transaction = in_transaction_,
                                                           .streamed = has_streams(),
                                                           .blocks = options_.compress,
                                                           .previous_size = file_offset_});
    File file = directory_.Create(segment);
    try {
        file.WriteAt(0, std::string_view(header.data(), header.size()));
        file.SyncData();
        directory_.Sync();
    } catch (const Error &) {
        // Made anew by the next attempt, so that nothing depends on a sync that went wrong.
        directory_.Remove(segment);
        throw;
    }
    file_ = std::move(file);
    segment_ = segment;
    seed_ = RecordSeed(header);
    blocks_ = options_.compress;
    file_offset_ = header.size();
    synced_offset_ = header.size();
    writeback_offset_ = header.size();
}

} // namespace livemigrate
