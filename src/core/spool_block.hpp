// Blocks: several records of the spool as one, compressed with LZ4. doc/spool_format.md says why
// whole groups are compressed and not single records.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

namespace livemigrate {

// What a block may hold. Longer records are written as they are, so that neither side takes much
// memory for one.
inline constexpr size_t kMaxBlockSize = 4 << 20;
// With less than this a block saves little and costs a call.
inline constexpr size_t kMinBlockSize = 512;

class BlockCompressor {
  public:
    // The payload of a block that holds `records`, valid until the next call; empty if it would not
    // be much smaller than they are.
    std::string_view Compress(std::string_view records);

  private:
    std::unique_ptr<char[]> buffer_;
    size_t capacity_ = 0;
};

// The records of one block, in turn.
class BlockReader {
  public:
    // False if `payload` is not that of a block; nothing else is believed of it. The block before
    // is forgotten.
    bool Open(std::string_view payload);

    void
    Close() {
        begin_ = 0;
        end_ = 0;
    }
    bool
    at_end() const {
        return begin_ == end_;
    }

    // A record, header and payload, whose header is plausible. REQUIRES: !at_end()
    std::string_view Next();

    size_t
    capacity() const {
        return capacity_;
    }

  private:
    bool HoldsRecords() const;

    std::unique_ptr<char[]> records_;
    size_t capacity_ = 0;
    size_t begin_ = 0;
    size_t end_ = 0;
};

} // namespace livemigrate
