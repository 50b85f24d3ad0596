// wal2json sends the source database's encoding as it is, whatever client_encoding says; JSON is
// UTF-8. Converts each payload before it is decoded.
#pragma once

#include "core/change.hpp"

#include <memory>
#include <optional>
#include <string>

namespace livemigrate::stage {

class TranscodingDecoder final : public ChangeDecoder {
  public:
    // `encoding` is a pg_enc of a server encoding. A character that UTF-8 does not have (22P05), or
    // bytes that are not of the encoding (22021), are a problem() of the change; a transaction that
    // is open goes on.
    TranscodingDecoder(std::unique_ptr<ChangeDecoder> decoder, int encoding);

    void Decode(Lsn lsn, std::string_view payload, Change &change) override;
    const Error *
    problem() const override {
        return problem_ ? &*problem_ : nullptr;
    }

  private:
    void Convert();

    std::unique_ptr<ChangeDecoder> decoder_;
    int encoding_;
    std::string converted_;
    std::optional<Error> problem_;
};

// The pg_enc of a name as server_encoding shows it. Throws Error 22023 for an unknown one.
int EncodingOf(const std::string &name);

} // namespace livemigrate::stage
