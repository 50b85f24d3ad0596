// Arbitrary bytes as messages of a binary COPY (cut at their first byte's length): each is refused
// with an Error, or its values lie inside it.
#include "core/binary_copy.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <cstring>

using namespace livemigrate;

namespace {

void
ReadOne(BinaryCopyReader &reader, const uint8_t *data, size_t size) {
    // A copy of exactly that size, so that a read beyond it is noticed.
    const std::unique_ptr<char[]> message(new char[size]);
    std::memcpy(message.get(), data, size);
    std::array<std::string_view, 2> values;
    if (!reader.ReadRow({message.get(), size}, values)) {
        return;
    }
    for (std::string_view value : values) {
        if (value.data() < message.get() || value.data() + value.size() > message.get() + size) {
            std::fputs("a value lies outside of its message\n", stderr);
            std::abort();
        }
    }
}

} // namespace

extern "C" int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    BinaryCopyReader reader;
    try {
        while (size > 1) {
            const size_t length = std::min<size_t>(data[0], size - 1);
            ReadOne(reader, data + 1, length);
            data += 1 + length;
            size -= 1 + length;
        }
    } catch (const Error &) {
        return 0;
    }
    return 0;
}
