#include "core/segment_reader.hpp"

#include "core/buffer_size.hpp"
#include "core/error.hpp"

#include <algorithm>
#include <cstring>

namespace livemigrate {

namespace {

constexpr size_t kBufferSize = BufferSize(256 << 10);

} // namespace

SegmentReader::SegmentReader(File file, uint64_t segment)
    : file_(std::move(file)), segment_(segment) {
    SegmentHeaderBytes bytes;
    if (file_.ReadAt(0, bytes.data(), bytes.size()) == bytes.size()) {
        header_state_ = DecodeSegmentHeader(bytes, header_);
        seed_ = RecordSeed(bytes);
    }
}

void
SegmentReader::Require(const SpoolIdentity &identity) const {
    if (header_state_ == HeaderState::kOtherVersion) {
        throw Error(sqlstate::kFeatureNotSupported,
                    "spool segment \"" + file_.path() + "\" has another format version")
            .Hint("Let the release that began the migration finish it.");
    }
    if (header_state_ == HeaderState::kDamaged || header_.segment != segment_) {
        throw Error(sqlstate::kDataCorrupted,
                    "spool segment \"" + file_.path() + "\" is damaged at offset 0")
            .Detail("Its header is not that of this segment.")
            .Hint(kDamageHint);
    }
    if (header_.identity == identity) {
        return;
    }
    const char *what = header_.identity.system_identifier != identity.system_identifier
                           ? "It holds changes of a source with another system identifier."
                       : header_.identity.plugin != identity.plugin
                           ? "It holds the output of another plugin."
                           : "Its token is not the one recorded for the migration.";
    throw Error(sqlstate::kObjectNotInPrerequisiteState,
                "spool segment \"" + file_.path() + "\" belongs to another migration")
        .Detail(what)
        .Hint("A clone of the target, or one restored from a backup, cannot go on with the "
              "migration of the original. Start a new one.");
}

bool
SegmentReader::IsTornCreation() const {
    return header_state_ == HeaderState::kDamaged && file_.Size() <= kSegmentHeaderSize;
}

SegmentReader::Result
SegmentReader::Next(uint64_t limit, SpoolRecord &record) {
    if (!block_.at_end()) {
        return NextInBlock(record);
    }
    if (offset_ >= limit) {
        return Result::kEnd;
    }
    if (!Fill(kRecordHeaderSize, limit)) {
        return Result::kDamaged;
    }
    const RecordHeader header = DecodeRecordHeader(Unread());
    const size_t size = kRecordHeaderSize + size_t{header.length};
    if (!IsPlausible(header) || !Fill(size, limit)) {
        return Result::kDamaged;
    }
    const std::string_view payload(Unread() + kRecordHeaderSize, header.length);
    if (!IsIntact(seed_, offset_, Unread(), payload)) {
        return Result::kDamaged;
    }
    if (header.kind == static_cast<uint8_t>(RecordKind::kBlock)) {
        if (!header_.blocks || !block_.Open(payload)) {
            return Result::kDamaged;
        }
        block_length_ = size;
        begin_ += size;
        return NextInBlock(record);
    }
    record = {.kind = static_cast<RecordKind>(header.kind),
              .lsn = header.lsn,
              .payload = payload,
              .position = {segment_, offset_}};
    begin_ += size;
    offset_ += size;
    return Result::kRecord;
}

// The file's position moves on with the last record of the block.
SegmentReader::Result
SegmentReader::NextInBlock(SpoolRecord &record) {
    const std::string_view bytes = block_.Next();
    const RecordHeader header = DecodeRecordHeader(bytes.data());
    record = {.kind = static_cast<RecordKind>(header.kind),
              .lsn = header.lsn,
              .payload = bytes.substr(kRecordHeaderSize),
              .position = {segment_, offset_}};
    if (block_.at_end()) {
        offset_ += block_length_;
    }
    return Result::kRecord;
}

void
SegmentReader::Seek(uint64_t offset) {
    block_.Close();
    offset_ = offset;
    begin_ = 0;
    end_ = 0;
}

// Whether the next `size` bytes are in the buffer, reading them if they are below the limit and in
// the file: a length is not believed, and no memory taken for it, before that is known.
bool
SegmentReader::Fill(size_t size, uint64_t limit) {
    if (unread() >= size) {
        return true;
    }
    if (size > limit - offset_) {
        return false;
    }
    const size_t capacity = std::max(size, kBufferSize);
    if (capacity > capacity_) {
        if (size > kBufferSize && file_.Size() < offset_ + size) {
            return false;
        }
        SetCapacity(capacity);
    } else if (capacity_ > kBufferSize && capacity == kBufferSize) {
        SetCapacity(capacity);
    } else if (begin_ > 0) {
        std::memmove(buffer_.get(), Unread(), unread());
        end_ -= begin_;
        begin_ = 0;
    }
    const uint64_t next = offset_ + unread();
    const size_t want = std::min<uint64_t>(capacity_ - end_, limit - next);
    end_ += file_.ReadAt(next, buffer_.get() + end_, want);
    return unread() >= size;
}

// Keeps what is unread, which fits.
void
SegmentReader::SetCapacity(size_t capacity) {
    std::unique_ptr<char[]> buffer(new char[capacity]); // not zeroed
    if (unread() > 0) {
        std::memcpy(buffer.get(), Unread(), unread());
    }
    end_ -= begin_;
    begin_ = 0;
    buffer_ = std::move(buffer);
    capacity_ = capacity;
}

} // namespace livemigrate
