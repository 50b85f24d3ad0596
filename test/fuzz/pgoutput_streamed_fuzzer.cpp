// Feeds a stream of messages to what else reads pgoutput. An input of even size: to a decoder as
// they stand inside the chunks of a streamed transaction, and to the receiver's translation of a
// binary stream. Of odd size: to a decoder that goes back to a mark.
#include "core/pgoutput_decoder.hpp"
#include "core/wire_types.hpp"

#include "decoder_check.hpp"
#include "pgoutput_messages.hpp"

namespace {

using namespace livemigrate;

// A stream start begins a new transaction, whose relations are not described. Returns whether the
// payload was accepted.
bool
DecodeStreamed(PgoutputDecoder &decoder, std::string_view payload, Change &change) {
    try {
        const TransactionMark mark = decoder.MarkStreamed(payload);
        if (mark.kind == TransactionMark::Kind::kStreamStart) {
            decoder.BeginStreamed();
        }
        if (mark.kind == TransactionMark::Kind::kNone) {
            decoder.DecodeStreamed(Lsn{1}, payload, change);
            fuzz::CheckChange(change);
            fuzz::Require(fuzz::PassesCheck(Plugin::kPgoutput, payload, true));
        }
        return true;
    } catch (const Error &error) {
        fuzz::Require(!error.message().empty());
        return false;
    }
}

// What the receiver keeps of a binary stream differs in types of columns only, each in its place.
void
Translate(WireTypes &types, std::string_view payload) {
    try {
        const std::string_view kept = types.Translate(payload);
        fuzz::Require(kept.size() == payload.size());
        fuzz::Require(kept == payload || payload[0] == 'R');
    } catch (const Error &error) {
        fuzz::Require(payload[0] == 'R' && !error.message().empty());
    } catch (const WireTypes::Unknown &unknown) {
        fuzz::Require(unknown.type != 23);
    }
}

void
ReadInChunks(const std::vector<std::string_view> &messages) {
    PgoutputDecoder decoder;
    WireTypes types({{23, 23}, {25, 25}, {1700, 23}});
    Change change;
    int refused = 0;
    for (const std::string_view message : messages) {
        const fuzz::ExactCopy copy(message);
        Translate(types, copy.view());
        if (!DecodeStreamed(decoder, copy.view(), change) && ++refused == fuzz::kManyRefusals) {
            return;
        }
    }
}

// The messages behind a mark mean the same each time they are read.
void
Rewind(const std::vector<std::string_view> &messages) {
    PgoutputDecoder decoder;
    Change change;
    int refused = 0;
    const auto decode = [&](size_t from, size_t to) {
        std::vector<bool> decoded;
        for (size_t i = from; i < to && refused < fuzz::kManyRefusals; i++) {
            decoded.push_back(
                fuzz::DecodeAndCheck(decoder, Plugin::kPgoutput, messages[i], change));
            refused += decoded.back() ? 0 : 1;
        }
        return decoded;
    };
    const size_t middle = messages.size() / 2;
    decode(0, middle);
    decoder.Mark();
    const int refused_before = refused;
    const std::vector<bool> first = decode(middle, messages.size());
    decoder.Rewind();
    refused = refused_before;
    fuzz::Require(decode(middle, messages.size()) == first);
}

} // namespace

extern "C" int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const std::vector<std::string_view> messages = fuzz::PgoutputMessages(data, size);
    if (size % 2 == 0) {
        ReadInChunks(messages);
    } else {
        Rewind(messages);
    }
    return 0;
}
