// Reads the records of one segment file in order, up to a limit. What SpoolReader and the scan at
// SpoolWriter's start have in common; it judges bytes and leaves it to them what damage means.
#pragma once

#include "core/posix_file.hpp"
#include "core/spool_block.hpp"
#include "core/spool_format.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace livemigrate {

// `payload` points into the reader's buffer: valid until its next call.
struct SpoolRecord {
    RecordKind kind = RecordKind::kMessage;
    Lsn lsn; // of the XLogData message
    std::string_view payload;
    SpoolPosition position; // where the record, or the block it stands in, starts
};

inline constexpr const char *kDamageHint =
    "Check the storage of the target. The changes from there on cannot be applied. If an intact "
    "copy of the file can be put back, do that and run: SELECT livemigrate.migration_resume(); "
    "else start over: SELECT livemigrate.migration_abort();";

class SegmentReader {
  public:
    enum class Result : uint8_t {
        kRecord,
        kEnd,     // at the limit
        kDamaged, // what stands at offset() is not a whole record below the limit
    };

    // Reads the header, whose state header_state() tells; only a valid one may be read on from.
    SegmentReader(File file, uint64_t segment);

    // Throws what SpoolReader documents unless the segment is whole at its start and belongs to
    // `identity`.
    void Require(const SpoolIdentity &identity) const;

    // The next record; blocks are taken apart. Bytes at and beyond `limit` are not looked at, so a
    // writer may be changing them.
    Result Next(uint64_t limit, SpoolRecord &record);

    // Goes on at `offset`, which must be where a record starts.
    void Seek(uint64_t offset);

    // Whether this can only be what a crash left of a segment's creation: no header and nothing
    // behind it, for the header is synced before the first record is written.
    bool IsTornCreation() const;

    HeaderState
    header_state() const {
        return header_state_;
    }
    const SegmentHeader &
    header() const {
        return header_;
    }
    uint64_t
    segment() const {
        return segment_;
    }
    uint32_t
    seed() const {
        return seed_;
    } // see RecordSeed
    uint64_t
    offset() const {
        return offset_;
    } // behind the last record returned; where its block starts, if there is more of that
    const File &
    file() const {
        return file_;
    }
    size_t
    buffer_size() const {
        return capacity_ + block_.capacity();
    }

  private:
    bool Fill(size_t size, uint64_t limit);
    Result NextInBlock(SpoolRecord &record);
    void SetCapacity(size_t capacity);
    const char *
    Unread() const {
        return buffer_.get() + begin_;
    }
    size_t
    unread() const {
        return end_ - begin_;
    }

    File file_;
    uint64_t segment_;
    HeaderState header_state_ = HeaderState::kDamaged;
    SegmentHeader header_;
    uint32_t seed_ = 0;
    uint64_t offset_ = kSegmentHeaderSize;

    // buffer_[begin_, end_) holds what the file has from offset_ on.
    std::unique_ptr<char[]> buffer_;
    size_t capacity_ = 0;
    size_t begin_ = 0;
    size_t end_ = 0;

    // The block that is being read, if any; it starts at offset_ and is so long.
    BlockReader block_;
    size_t block_length_ = 0;
};

} // namespace livemigrate
