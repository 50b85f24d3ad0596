// Feeds a stream of messages to a PgoutputDecoder, as they stand outside and inside the chunks of a
// streamed transaction: each a big-endian 16-bit length and as many
// bytes, the last one as much as there is.
#include "core/pgoutput_decoder.hpp"
#include "core/wire_types.hpp"

#include "decoder_check.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

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

// What the receiver keeps of a binary stream differs in types of columns only, each in its place.
void
TranslateAndCheck(livemigrate::WireTypes &types, std::string_view payload) {
    using namespace livemigrate;
    const std::unique_ptr<char[]> copy(new char[payload.size()]);
    payload.copy(copy.get(), payload.size());
    const std::string_view exact(copy.get(), payload.size());
    try {
        const std::string_view kept = types.Translate(exact);
        fuzz::Require(kept.size() == exact.size());
        fuzz::Require(kept == exact || exact[0] == 'R');
    } catch (const Error &error) {
        fuzz::Require(exact[0] == 'R' && !error.message().empty());
    } catch (const WireTypes::Unknown &unknown) {
        fuzz::Require(unknown.type != 23);
    }
}

// The messages behind a mark mean the same each time they are read.
void
RewindAndCheck(const std::vector<std::string_view> &messages) {
    using namespace livemigrate;
    PgoutputDecoder decoder;
    Change change;
    const auto decode = [&](size_t from, size_t to) {
        std::vector<bool> decoded;
        for (size_t i = from; i < to; i++) {
            decoded.push_back(fuzz::DecodeAndCheck(decoder, MarkPgoutput, messages[i], change));
        }
        return decoded;
    };
    decode(0, messages.size() / 2);
    decoder.Mark();
    const std::vector<bool> first = decode(messages.size() / 2, messages.size());
    decoder.Rewind();
    fuzz::Require(decode(messages.size() / 2, messages.size()) == first);
}

std::vector<std::string_view>
Messages(std::string_view rest) {
    std::vector<std::string_view> messages;
    while (rest.size() >= 2) {
        const size_t wanted =
            static_cast<size_t>(static_cast<uint8_t>(rest[0])) << 8 | static_cast<uint8_t>(rest[1]);
        const size_t length = std::min(wanted, rest.size() - 2);
        messages.push_back(rest.substr(2, length));
        rest.remove_prefix(2 + length);
    }
    return messages;
}

} // namespace

extern "C" int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    livemigrate::PgoutputDecoder decoder;
    livemigrate::PgoutputDecoder streamed;
    livemigrate::WireTypes types({{23, 23}, {25, 25}, {1700, 23}});
    livemigrate::Change change;
    const std::vector<std::string_view> messages =
        Messages({reinterpret_cast<const char *>(data), size});
    for (const std::string_view message : messages) {
        livemigrate::fuzz::DecodeAndCheck(decoder, livemigrate::MarkPgoutput, message, change);
        DecodeStreamedAndCheck(streamed, message, change);
        TranslateAndCheck(types, message);
    }
    RewindAndCheck(messages);
    return 0;
}
