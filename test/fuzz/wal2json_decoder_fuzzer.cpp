// Feeds a stream of messages, one a line, to one Wal2jsonDecoder.
#include "core/wal2json_decoder.hpp"

#include "decoder_check.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>

extern "C" int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    livemigrate::Wal2jsonDecoder decoder(
        [](std::string_view, std::string_view name) { return name == "full_identity"; });
    livemigrate::Change change;
    std::string_view rest(reinterpret_cast<const char *>(data), size);
    while (!rest.empty()) {
        const size_t length = std::min(rest.find('\n'), rest.size());
        livemigrate::fuzz::DecodeAndCheck(decoder, livemigrate::MarkWal2json,
                                          rest.substr(0, length), change);
        rest.remove_prefix(std::min(length + 1, rest.size()));
    }
    return 0;
}
