// wal2json sends the source database's encoding as it is, whatever client_encoding says; JSON is
// UTF-8. Converts each payload before it is decoded.
#pragma once

#include "core/change.hpp"

#include <memory>
#include <string>

namespace livemigrate::stage {

class TranscodingDecoder final : public ChangeDecoder {
  public:
    // `encoding` is a pg_enc of a server encoding. Throws Error 22P05 from Decode() for a character
    // that UTF-8 does not have, 22021 for bytes that are not of the encoding.
    TranscodingDecoder(std::unique_ptr<ChangeDecoder> decoder, int encoding);

    void Decode(Lsn lsn, std::string_view payload, Change &change) override;

  private:
    std::unique_ptr<ChangeDecoder> decoder_;
    int encoding_;
    std::string converted_;
};

// The pg_enc of a name as server_encoding shows it. Throws Error 22023 for an unknown one.
int EncodingOf(const std::string &name);

} // namespace livemigrate::stage
