// Decodes pgoutput, protocol versions 1 and 2 (PostgreSQL documentation, "Logical Replication
// Message Formats"): what `proto_version '1'` gives, on any server version, and `proto_version '2'`
// with `streaming 'on'`.
//
// Two-phase (version 3) and parallel-stream (version 4) messages are never sent to such a client,
// so they are an Error like any unknown byte.
#pragma once

#include "core/change.hpp"

#include <cstdint>
#include <memory>
#include <string>
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
    TransactionMark MarkStreamed(std::string_view payload) const override;
    void BeginStreamed() override;
    void DecodeStreamed(Lsn lsn, std::string_view payload, Change &change) override;

  private:
    using RelationPtr = std::shared_ptr<const RemoteRelation>;

    using Relations = std::unordered_map<uint32_t, RelationPtr>;

    void DecodeMessage(ByteReader &reader, Change &change);
    void DecodeInChunk(ByteReader &reader, Change &change);
    void Use(bool streamed);
    void DecodeRelation(ByteReader &reader);
    void Describe(RelationPtr relation);
    void DecodeInsert(ByteReader &reader, Change &change);
    void DecodeUpdate(ByteReader &reader, Change &change);
    void DecodeDelete(ByteReader &reader, Change &change);
    void DecodeTruncate(ByteReader &reader, Change &change);
    void ReadRowRelation(ByteReader &reader, Change &change);
    void ReadOldTuple(ByteReader &reader, uint8_t kind, Change &change);
    void ReadNewTuple(ByteReader &reader, uint8_t kind, Change &change);
    void SeeForm(uint8_t forms, Change &change);
    const RelationPtr &FindRelation(ByteReader &reader);

    Relations relations_;
    // Those that the streamed transaction which is being decoded has described.
    Relations streamed_relations_;
    // The latest description of each relation that came in a streamed transaction: its next one
    // mostly says the same, and gets the same object.
    Relations last_streamed_;
    bool streamed_ = false; // which of them last_relation_ is from
    // What descriptions were before they changed, in that order, since Mark(); null where there was
    // none.
    std::vector<std::pair<uint32_t, RelationPtr>> replaced_;
    // The relation of the last row: consecutive rows mostly belong to one table.
    RelationPtr last_relation_;
};

// Looks at Begin, Commit and the four messages about streamed transactions only. Throws Error 08P01
// if one of these is malformed.
TransactionMark MarkPgoutput(std::string_view payload);

// The messages that a chunk of a streamed transaction goes on, and that all of it is aborted.
std::string BuildStreamStart(uint32_t xid);
std::string BuildStreamAbort(uint32_t xid);

} // namespace livemigrate
