// Feeds a stream of messages to one PgoutputDecoder: each a big-endian 16-bit length and as many
// bytes, the last one as much as there is.
#include "core/pgoutput_decoder.hpp"

#include "decoder_check.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>

extern "C" int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    livemigrate::PgoutputDecoder decoder;
    livemigrate::Change change;
    std::string_view rest(reinterpret_cast<const char *>(data), size);
    while (rest.size() >= 2) {
        const size_t wanted =
            static_cast<size_t>(static_cast<uint8_t>(rest[0])) << 8 | static_cast<uint8_t>(rest[1]);
        const size_t length = std::min(wanted, rest.size() - 2);
        livemigrate::fuzz::DecodeAndCheck(decoder, livemigrate::MarkPgoutput,
                                          rest.substr(2, length), change);
        rest.remove_prefix(2 + length);
    }
    return 0;
}
