// Feeds a stream of messages to a PgoutputDecoder, as they stand outside streamed transactions.
#include "core/pgoutput_decoder.hpp"

#include "decoder_check.hpp"
#include "pgoutput_messages.hpp"

extern "C" int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    using namespace livemigrate;
    PgoutputDecoder decoder;
    Change change;
    int refused = 0;
    for (const std::string_view message : fuzz::PgoutputMessages(data, size)) {
        if (!fuzz::DecodeAndCheck(decoder, Plugin::kPgoutput, message, change) &&
            ++refused == fuzz::kManyRefusals) {
            break;
        }
    }
    return 0;
}
