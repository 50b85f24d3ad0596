// Feeds a stream of messages to a PgoutputDecoder, as they stand outside and inside the chunks of a
// streamed transaction: each a big-endian 16-bit length and as many
// bytes, the last one as much as there is.
#include "core/pgoutput_decoder.hpp"

#include "decoder_check.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace {

// A stream start begins a new transaction, whose relations are not described.
void
DecodeStreamedAndCheck(livemigrate::PgoutputDecoder &decoder, std::string_view payload,
                       livemigrate::Change &change) {
    using namespace livemigrate;
    const std::unique_ptr<char[]> copy(new char[payload.size()]);
    payload.copy(copy.get(), payload.size());
    const std::string_view exact(copy.get(), payload.size());
    try {
        const TransactionMark mark = decoder.MarkStreamed(exact);
        if (mark.kind == TransactionMark::Kind::kStreamStart) {
            decoder.BeginStreamed();
        }
        if (mark.kind == TransactionMark::Kind::kNone) {
            decoder.DecodeStreamed(Lsn{1}, exact, change);
            fuzz::CheckChange(change);
        }
    } catch (const Error &error) {
        fuzz::Require(!error.message().empty());
    }
}

} // namespace

extern "C" int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    livemigrate::PgoutputDecoder decoder;
    livemigrate::PgoutputDecoder streamed;
    livemigrate::Change change;
    std::string_view rest(reinterpret_cast<const char *>(data), size);
    while (rest.size() >= 2) {
        const size_t wanted =
            static_cast<size_t>(static_cast<uint8_t>(rest[0])) << 8 | static_cast<uint8_t>(rest[1]);
        const size_t length = std::min(wanted, rest.size() - 2);
        livemigrate::fuzz::DecodeAndCheck(decoder, livemigrate::MarkPgoutput,
                                          rest.substr(2, length), change);
        DecodeStreamedAndCheck(streamed, rest.substr(2, length), change);
        rest.remove_prefix(2 + length);
    }
    return 0;
}
