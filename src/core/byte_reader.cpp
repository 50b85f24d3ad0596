#include "core/byte_reader.hpp"

#include "core/error.hpp"

namespace livemigrate {

std::string_view
ByteReader::ReadCString() {
    const char *const begin = message_.data() + offset_;
    const void *const nul = remaining() == 0 ? nullptr : std::memchr(begin, '\0', remaining());
    if (nul == nullptr) {
        ThrowTruncated(remaining() + 1);
    }
    const auto length = static_cast<size_t>(static_cast<const char *>(nul) - begin);
    offset_ += length + 1;
    return {begin, length};
}

void
ByteReader::ExpectEnd() const {
    if (remaining() != 0) {
        throw Error(sqlstate::kProtocolViolation, "replication message is too long")
            .Detail(std::to_string(remaining()) + " bytes follow its end at offset " +
                    std::to_string(offset_) + ".");
    }
}

void
ByteReader::ThrowTruncated(size_t length) const {
    throw Error(sqlstate::kProtocolViolation, "replication message is truncated")
        .Detail("At least " + std::to_string(length) + " bytes are expected at offset " +
                std::to_string(offset_) + ", but the message has " +
                std::to_string(message_.size()) + ".");
}

std::string
FirstBytes(std::string_view message, size_t count) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    for (const char c : message.substr(0, count)) {
        const auto byte = static_cast<uint8_t>(c);
        if (!text.empty()) {
            text += ' ';
        }
        text += kDigits[byte >> 4];
        text += kDigits[byte & 15];
    }
    return text;
}

} // namespace livemigrate
