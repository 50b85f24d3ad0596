#include "pg/prelude.hpp"

#include "stage/transcoding_decoder.hpp"

#include "core/wal2json_transaction.hpp"
#include "pg/guard.hpp"
#include "pg/subtransaction.hpp"
#include "pg/transaction.hpp"

#include <algorithm>
#include <optional>

namespace livemigrate::stage {

TranscodingDecoder::TranscodingDecoder(std::unique_ptr<ChangeDecoder> decoder, int encoding)
    : decoder_(std::move(decoder)), encoding_(encoding) {}

namespace {

bool
IsBeyondAscii(char byte) {
    return (static_cast<unsigned char>(byte) & 0x80) != 0;
}

bool
IsAboutCharacters(const Error &error) {
    return error.sqlstate() == sqlstate::kUntranslatableCharacter ||
           error.sqlstate() == "22021"; // character_not_in_repertoire
}

} // namespace

void
TranscodingDecoder::Decode(Lsn lsn, std::string_view payload, Change &change) {
    problem_.reset();
    const bool is_ascii = std::none_of(payload.begin(), payload.end(), IsBeyondAscii);
    // A logical message may hold any bytes, and nothing of it is decoded.
    if (is_ascii || Wal2jsonAction(payload) == 'M') {
        decoder_->Decode(lsn, payload, change);
        return;
    }
    // The payload lies in the spool reader's buffer, without a terminating NUL.
    converted_.assign(payload);
    try {
        Convert();
    } catch (const Error &error) {
        if (!IsAboutCharacters(error)) {
            throw;
        }
        problem_ = error;
        // Which table and row it is, ASCII mostly tells.
        std::replace_if(converted_.begin(), converted_.end(), IsBeyondAscii, '?');
    }
    decoder_->Decode(lsn, converted_, change);
}

void
TranscodingDecoder::Convert() {
    auto *input = reinterpret_cast<unsigned char *>(converted_.data());
    const auto length = static_cast<int>(converted_.size());
    // Conversion functions are found in the catalog. What is open already outlives an error.
    std::optional<pg::Transaction> transaction;
    std::optional<pg::Subtransaction> part;
    if (IsTransactionState()) {
        part.emplace();
    } else {
        transaction.emplace();
    }
    struct Converted {
        const char *text;
        bool is_copy;
    };
    const Converted converted = pg::Call([&]() -> Converted {
        pg_verify_mbstr(encoding_, converted_.data(), length, false);
        unsigned char *text = pg_do_encoding_conversion(input, length, encoding_, PG_UTF8);
        return {reinterpret_cast<const char *>(text), text != input};
    });
    if (converted.is_copy) {
        converted_.assign(converted.text);
        pfree(const_cast<char *>(converted.text));
    }
    if (transaction) {
        transaction->Commit();
    } else {
        part->Commit();
    }
}

int
EncodingOf(const std::string &name) {
    const int encoding = pg_char_to_encoding(name.c_str());
    if (encoding < 0) {
        throw Error(sqlstate::kInvalidParameterValue,
                    "the source's encoding \"" + name + "\" is not known here");
    }
    return encoding;
}

} // namespace livemigrate::stage
