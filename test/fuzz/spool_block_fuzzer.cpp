// Arbitrary bytes as the payload of a compressed block: it is refused, or its records can be walked
// without leaving it; and what was walked is the same after compressing it again.
#include "core/spool_block.hpp"
#include "core/spool_format.hpp"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

using namespace livemigrate;

namespace {

std::string
ReadAll(BlockReader &reader) {
    std::string records;
    while (!reader.at_end()) {
        records.append(reader.Next()); // reads every byte
    }
    return records;
}

} // namespace

extern "C" int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static BlockReader reader;
    static BlockCompressor compressor;
    if (!reader.Open({reinterpret_cast<const char *>(data), size})) {
        return 0;
    }
    const std::string records = ReadAll(reader);
    const std::string_view again = compressor.Compress(records);
    if (!again.empty() && (!reader.Open(again) || ReadAll(reader) != records)) {
        std::fputs("a block that was made cannot be read\n", stderr);
        std::abort();
    }
    return 0;
}
