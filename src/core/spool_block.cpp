#include "core/spool_block.hpp"

#include "core/buffer_size.hpp"
#include "core/spool_format.hpp"

#include <algorithm>
#include <lz4.h>

namespace livemigrate {

namespace {

// What a reader keeps when there are no longer blocks.
constexpr size_t kUsualBlockSize = BufferSize(256 << 10);

// LZ4 makes at most so many bytes of one: no memory is taken for a size that cannot be.
constexpr size_t kLargestRatio = 255;

constexpr size_t kSizeLength = 4; // of the size in front of the compressed bytes

void
StoreSize(char *at, size_t size) {
    for (size_t i = 0; i < kSizeLength; ++i) {
        at[i] = static_cast<char>(size >> 8 * i & 0xff);
    }
}

size_t
LoadSize(const char *at) {
    size_t size = 0;
    for (size_t i = 0; i < kSizeLength; ++i) {
        size |= size_t{static_cast<uint8_t>(at[i])} << 8 * i;
    }
    return size;
}

} // namespace

std::string_view
BlockCompressor::Compress(std::string_view records) {
    if (records.size() < kMinBlockSize || records.size() > kMaxBlockSize) {
        return {};
    }
    // Room for what is worth it and no more: LZ4 gives up where it does not suffice.
    const size_t room = records.size() - records.size() / 8;
    if (capacity_ < kSizeLength + room) {
        capacity_ = kSizeLength + room;
        buffer_.reset(new char[capacity_]); // not zeroed
    }
    const int size = LZ4_compress_default(records.data(), buffer_.get() + kSizeLength,
                                          static_cast<int>(records.size()), static_cast<int>(room));
    if (size <= 0) {
        return {};
    }
    StoreSize(buffer_.get(), records.size());
    return {buffer_.get(), kSizeLength + static_cast<size_t>(size)};
}

bool
BlockReader::Open(std::string_view payload) {
    Close();
    if (payload.size() < kSizeLength) {
        return false;
    }
    const size_t size = LoadSize(payload.data());
    payload.remove_prefix(kSizeLength);
    if (size > kMaxBlockSize || payload.size() > kMaxBlockSize ||
        size / kLargestRatio > payload.size()) {
        return false;
    }
    const size_t capacity = std::max(size, kUsualBlockSize);
    if (capacity > capacity_ || (capacity_ > kUsualBlockSize && capacity == kUsualBlockSize)) {
        records_.reset(new char[capacity]); // not zeroed
        capacity_ = capacity;
    }
    const int found = LZ4_decompress_safe(payload.data(), records_.get(),
                                          static_cast<int>(payload.size()), static_cast<int>(size));
    if (found < 0 || static_cast<size_t>(found) != size) {
        return false;
    }
    end_ = size;
    if (!HoldsRecords()) {
        Close();
        return false;
    }
    return true;
}

bool
BlockReader::HoldsRecords() const {
    size_t at = 0;
    while (end_ - at >= kRecordHeaderSize) {
        const RecordHeader header = DecodeRecordHeader(records_.get() + at);
        at += kRecordHeaderSize;
        if (!IsPlausible(header) || header.kind == static_cast<uint8_t>(RecordKind::kBlock) ||
            header.length > end_ - at) {
            return false;
        }
        at += header.length;
    }
    return at == end_ && end_ > 0;
}

std::string_view
BlockReader::Next() {
    const char *start = records_.get() + begin_;
    const size_t size = kRecordHeaderSize + size_t{DecodeRecordHeader(start).length};
    begin_ += size;
    return {start, size};
}

} // namespace livemigrate
