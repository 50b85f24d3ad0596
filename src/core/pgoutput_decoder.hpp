// Decodes pgoutput, protocol version 1 (PostgreSQL documentation, "Logical Replication Message
// Formats"): what `proto_version '1'` gives, on any server version.
//
// Streamed (version 2), two-phase (version 3) and parallel-stream (version 4) messages are never
// sent to a version 1 client, so they are an Error like any unknown byte.
#pragma once

#include "core/change.hpp"

#include <cstdint>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace livemigrate {

class ByteReader;

// Values point into the payload, which therefore must live as long as the Change is used. They are
// in the connection's client_encoding and, like all that comes from outside, may hold any bytes:
// whoever hands them to PostgreSQL checks the encoding (which also finds a NUL byte).
class PgoutputDecoder final : public ChangeDecoder {
  public:
    void Decode(Lsn lsn, std::string_view payload, Change &change) override;
    void Mark() override;
    void Rewind() override;

  private:
    using RelationPtr = std::shared_ptr<const RemoteRelation>;

    void DecodeMessage(ByteReader &reader, Change &change);
    void DecodeRelation(ByteReader &reader);
    void DecodeInsert(ByteReader &reader, Change &change);
    void DecodeUpdate(ByteReader &reader, Change &change);
    void DecodeDelete(ByteReader &reader, Change &change);
    void DecodeTruncate(ByteReader &reader, Change &change);
    void ReadRowRelation(ByteReader &reader, Change &change);
    const RelationPtr &FindRelation(ByteReader &reader);

    std::unordered_map<uint32_t, RelationPtr> relations_;
    // What descriptions were before they changed, in that order, since Mark().
    std::vector<std::pair<uint32_t, RelationPtr>> replaced_;
    // The relation of the last row: consecutive rows mostly belong to one table.
    RelationPtr last_relation_;
};

// Looks at Begin and Commit only. Throws Error 08P01 if one of these is malformed.
TransactionMark MarkPgoutput(std::string_view payload);

} // namespace livemigrate
