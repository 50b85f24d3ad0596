#include "core/binary_copy.hpp"

#include "core/error.hpp"

#include <string>

namespace livemigrate {

namespace {

using namespace std::string_view_literals;

constexpr std::string_view kSignature = "PGCOPY\n\377\r\n\0"sv;
constexpr int16_t kTrailer = -1;

[[noreturn]] void
ThrowUnexpected(const std::string &what) {
    throw Error(sqlstate::kProtocolViolation, "unexpected " + what + " in a binary COPY");
}

void
ReadHeader(ByteReader &reader) {
    if (reader.ReadBytes(kSignature.size()) != kSignature) {
        ThrowUnexpected("signature");
    }
    if (reader.ReadU32() != 0) {
        ThrowUnexpected("flags");
    }
    reader.ReadBytes(reader.ReadU32()); // an extension of the header: none is known
}

} // namespace

bool
BinaryCopyReader::ReadRow(std::string_view message, std::span<std::string_view> values) {
    ByteReader reader(message);
    if (!header_read_) {
        ReadHeader(reader);
        header_read_ = true;
    }
    const int16_t columns = reader.ReadI16();
    if (columns == kTrailer) {
        reader.ExpectEnd();
        return false;
    }
    if (columns < 0 || static_cast<size_t>(columns) != values.size()) {
        ThrowUnexpected("number of columns");
    }
    for (std::string_view &value : values) {
        const int32_t length = reader.ReadI32();
        if (length < 0) {
            ThrowUnexpected("null");
        }
        value = reader.ReadBytes(static_cast<size_t>(length));
    }
    reader.ExpectEnd();
    return true;
}

} // namespace livemigrate
