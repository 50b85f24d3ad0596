// Recorded messages and what the tests do to all of them alike.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace livemigrate::test {

struct RecordedMessage {
    const char *lsn;
    const char *data; // hexadecimal, or the text itself
};

inline std::string
FromHex(std::string_view hex) {
    const auto digit = [](char c) { return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10; };
    std::string bytes;
    for (size_t i = 0; i + 1 < hex.size(); i += 2) {
        bytes += static_cast<char>(digit(hex[i]) * 16 + digit(hex[i + 1]));
    }
    return bytes;
}

// A copy on the heap without a byte to spare, so that AddressSanitizer sees each read beyond.
class ExactCopy {
  public:
    explicit ExactCopy(std::string_view bytes)
        : data_(new char[bytes.size()]), size_(bytes.copy(data_.get(), bytes.size())) {}

    std::string_view
    view() const {
        return {data_.get(), size_};
    }

  private:
    std::unique_ptr<char[]> data_;
    size_t size_;
};

} // namespace livemigrate::test
