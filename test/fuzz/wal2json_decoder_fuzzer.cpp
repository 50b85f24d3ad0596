// Feeds a stream of messages to a Wal2jsonDecoder.
#include "core/wal2json_decoder.hpp"

#include "decoder_check.hpp"
#include "wal2json_lines.hpp"

extern "C" int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    using namespace livemigrate;
    Wal2jsonDecoder decoder(fuzz::IsFullIdentity);
    Change change;
    int refused = 0;
    fuzz::ForEachLine(data, size, [&](std::string_view payload) {
        return fuzz::DecodeAndCheck(decoder, Plugin::kWal2json, payload, change) ||
               ++refused < fuzz::kManyRefusals;
    });
    return 0;
}
