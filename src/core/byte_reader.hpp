// Reads a message of the replication protocol: big-endian integers, strings, counted bytes.
//
// Every read is checked against the end of the message. A read beyond it throws Error 08P01 with
// the offset in the detail and leaves the reader where it was. Views returned point into the
// message, which must outlive them.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace livemigrate {

class ByteReader {
  public:
    explicit ByteReader(std::string_view message) : message_(message) {}

    uint8_t
    ReadU8() {
        return ReadInteger<uint8_t>();
    }
    uint16_t
    ReadU16() {
        return ReadInteger<uint16_t>();
    }
    uint32_t
    ReadU32() {
        return ReadInteger<uint32_t>();
    }
    uint64_t
    ReadU64() {
        return ReadInteger<uint64_t>();
    }
    int16_t
    ReadI16() {
        return static_cast<int16_t>(ReadU16());
    }
    int32_t
    ReadI32() {
        return static_cast<int32_t>(ReadU32());
    }
    int64_t
    ReadI64() {
        return static_cast<int64_t>(ReadU64());
    }

    std::string_view
    ReadBytes(size_t length) {
        Require(length);
        const std::string_view bytes(message_.data() + offset_, length);
        offset_ += length;
        return bytes;
    }

    // Up to the next NUL byte, which is consumed and not part of the result.
    std::string_view ReadCString();

    std::string_view
    ReadRest() {
        return ReadBytes(remaining());
    }

    // Throws Error 08P01 unless everything has been read.
    void ExpectEnd() const;

    size_t
    offset() const {
        return offset_;
    }
    size_t
    remaining() const {
        return message_.size() - offset_;
    }

  private:
    void
    Require(size_t length) const {
        if (length > remaining()) [[unlikely]] {
            ThrowTruncated(length);
        }
    }

    template <std::unsigned_integral T>
    T
    ReadInteger() {
        Require(sizeof(T));
        T value;
        std::memcpy(&value, message_.data() + offset_, sizeof(T));
        offset_ += sizeof(T);
        return FromBigEndian(value);
    }

    static uint8_t
    FromBigEndian(uint8_t value) {
        return value;
    }
    static uint16_t
    FromBigEndian(uint16_t value) {
        return Native(value, __builtin_bswap16(value));
    }
    static uint32_t
    FromBigEndian(uint32_t value) {
        return Native(value, __builtin_bswap32(value));
    }
    static uint64_t
    FromBigEndian(uint64_t value) {
        return Native(value, __builtin_bswap64(value));
    }

    template <typename T>
    static T
    Native(T big, T little) {
        return std::endian::native == std::endian::big ? big : little;
    }

    [[noreturn]] void ThrowTruncated(size_t length) const;

    std::string_view message_;
    size_t offset_ = 0;
};

// The first `count` bytes of a message in hexadecimal ("49 00 00 40"), for an error's detail.
std::string FirstBytes(std::string_view message, size_t count);

} // namespace livemigrate
