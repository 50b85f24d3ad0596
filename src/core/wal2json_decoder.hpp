// Decodes wal2json, format version 2, started with include-transaction, include-lsn,
// include-timestamp and include-xids on, and include-types and pretty-print off.
//
// What the stream holds (wal2json 2.5 and 2.6, source and recordings):
//
//   B, C  Both carry "lsn" and "nextlsn". "lsn" is where the commit record starts: in C it is the
//         callback's commit_lsn, and in B txn->final_lsn, which is that same position, not that of
//         the transaction's first change. "nextlsn" is txn->end_lsn, the first byte behind the
//         commit record. "timestamp" is the commit time, in ISO style and the walsender's TimeZone.
//   I     "columns" is the row: all live columns, generated ones too.
//   U     "columns" lacks the TOASTed values that the update did not touch; "identity" is the old
//         key, also when it did not change, and with identity FULL the old row.
//   D     "identity" only.
//   T     one message for each table, without CASCADE or RESTART IDENTITY.
//   M     logical messages: "content" may be any bytes, so nothing of it is parsed.
//
// Values are the types' text output with these exceptions, which only a catalog can undo: bytea
// lacks its leading \x, bool comes as true or false (t and f here, as its output function has
// it), and NaN and infinities are null unless numeric-data-types-as-string is on.
#pragma once

#include "core/change.hpp"

#include <functional>
#include <memory>
#include <string_view>

namespace livemigrate {

// The stream has no relation messages, so relations are put together from the columns that turn
// up: a name not met before is appended (in a new RemoteRelation), and a column that a message does
// not name is kAbsent in its tuples. That is a TOASTed value the update left alone, or a column
// that has been dropped or renamed. is_key follows the last "identity" of the table, so it is not
// set before the first update or delete. Type OIDs and remote_id are 0.
//
// Values point into the payload or into the decoder's own buffers: valid until the next Decode(),
// and as long as the payload lives. An update or delete without "identity" is an Error, because
// which row it means cannot be told.
//
// The payload must be UTF-8, else Error 08P01. wal2json sends the server's encoding whatever
// client_encoding says, so for a source in another encoding the caller converts the payload first
// (all but M: see Wal2jsonAction). JSON's syntax is ASCII, so it survives that.
class Wal2jsonDecoder final : public ChangeDecoder {
  public:
    // Whether a table has replica identity FULL, which the stream does not tell. Asked when the
    // table, or a new column or key of it, is first met, not for each row. Without it the answer
    // is no.
    using IdentityFullLookup = std::function<bool(std::string_view schema, std::string_view name)>;

    explicit Wal2jsonDecoder(IdentityFullLookup has_identity_full = nullptr);
    ~Wal2jsonDecoder() override;

    void Decode(Lsn lsn, std::string_view payload, Change &change) override;

  private:
    class Impl; // keeps simdjson.h out of everything that includes this
    std::unique_ptr<Impl> impl_;
};

// Looks at B and C only. Throws Error 08P01 if one of these is malformed.
TransactionMark MarkWal2json(std::string_view payload);

} // namespace livemigrate
