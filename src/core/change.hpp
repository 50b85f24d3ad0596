// What the decoders produce and apply consumes: one message of the source's change stream.
//
// Both output plugins are brought to one shape: a relation with named columns, and tuples whose
// values stand in the order of those columns.
#pragma once

#include "core/error.hpp"
#include "core/lsn.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace livemigrate {

enum class ValueKind : uint8_t {
    kAbsent,    // the message says nothing about this column (wal2json; non-key columns of a key)
    kNull,      // SQL NULL
    kUnchanged, // TOASTed value that the update did not touch (pgoutput 'u')
    kText,      // the type's text output, in the stream's encoding
    kBinary,    // the type's binary output (pgoutput 'b')
};

// `data` points into the payload or the decoder's buffers: valid until the next Decode() call.
struct ColumnValue {
    ValueKind kind = ValueKind::kAbsent;
    std::string_view data;
};

// Whether the message says what the column holds: a value or NULL.
constexpr bool
IsSent(const ColumnValue &value) {
    return value.kind != ValueKind::kUnchanged && value.kind != ValueKind::kAbsent;
}

using Tuple = std::vector<ColumnValue>;
using TupleView = std::span<const ColumnValue>;

struct RemoteColumn {
    std::string name;
    bool is_key = false;   // part of the replica identity
    uint32_t type_oid = 0; // on the source; 0 where the plugin does not tell (wal2json)
    int32_t type_modifier = -1;

    friend bool operator==(const RemoteColumn &, const RemoteColumn &) = default;
};

// A table as the stream describes it. Immutable; when the description changes, the decoder makes a
// new object, so a pointer comparison tells whether anything prepared for it is still right.
struct RemoteRelation {
    uint32_t remote_id = 0; // the source's OID; 0 where the plugin does not tell
    std::string schema;
    std::string name;
    char replica_identity = 0; // pg_class.relreplident: d n f i; 0 where the plugin does not tell
    std::vector<RemoteColumn> columns;
    // Whether its rows come with binary values. The same value has other bytes then, so rows of one
    // description compare, and rows of two do not.
    bool binary = false;
};

enum class ChangeKind : uint8_t {
    kBegin,
    kCommit,
    kInsert,
    kUpdate,
    kDelete,
    kTruncate,
    kIgnored, // relation, type, origin and logical messages: nothing to apply
};

// One decoded message. Reused from call to call; only the fields named for a kind are set.
struct Change {
    ChangeKind kind = ChangeKind::kIgnored;

    // kBegin: commit_lsn (where the commit record starts), commit_time, xid.
    // kCommit: commit_lsn, end_lsn (first byte behind the commit record), commit_time.
    Lsn commit_lsn;
    Lsn end_lsn;
    int64_t commit_time = 0; // microseconds since 2000-01-01 UTC, as TimestampTz; 0 if unknown
    uint32_t xid = 0;

    // kInsert, kUpdate, kDelete. Tuples are aligned with relation->columns; an empty tuple means
    // that the message has none.
    std::shared_ptr<const RemoteRelation> relation;
    Tuple old_tuple; // kUpdate (if sent), kDelete: key columns, or all (identity FULL)
    bool old_tuple_is_full = false; // identity FULL: every column takes part in finding the row
    Tuple new_tuple;                // kInsert, kUpdate

    // kTruncate: the relations of one message.
    std::vector<std::shared_ptr<const RemoteRelation>> truncated;
    bool truncate_cascade = false;
    bool truncate_restart_identity = false;
};

// An INSERT, UPDATE or DELETE, wherever its values lie. Tuples as in Change.
struct RowChange {
    ChangeKind kind = ChangeKind::kIgnored;
    bool old_tuple_is_full = false;
    const RemoteRelation *relation = nullptr;
    TupleView old_tuple;
    TupleView new_tuple;
};

// Where a payload stands with respect to transactions; the receiver's view, which decodes no row.
//
// A transaction that the source sends before it ends comes in chunks, each between a stream start
// and a stream stop, with other transactions between them, and is ended by a stream commit or a
// stream abort.
struct TransactionMark {
    enum class Kind : uint8_t {
        kNone,
        kBegin,
        kCommit,
        kStreamStart,
        kStreamStop,
        kStreamCommit,
        kStreamAbort,
    } kind = Kind::kNone;
    Lsn commit_lsn;           // kBegin, kCommit, kStreamCommit
    Lsn end_lsn;              // kCommit, kStreamCommit
    int64_t commit_time = 0;  // kStreamCommit
    uint32_t xid = 0;         // kStream..., but kStreamStop: of the transaction
    uint32_t subxid = 0;      // kStreamAbort: what is aborted; xid if it is all of it
    bool first_chunk = false; // kStreamStart
};

// Decodes the payloads of one output plugin, in stream order. Holds what the stream said of
// relations, so one decoder belongs to one uninterrupted run through the stream.
class ChangeDecoder {
  public:
    virtual ~ChangeDecoder() = default;

    // Decodes one payload into `change`, which is valid until the next call. Throws Error 08P01 for
    // anything malformed, unknown or truncated: position, message type and first bytes in the
    // detail, never a row's values.
    virtual void Decode(Lsn lsn, std::string_view payload, Change &change) = 0;

    // Why the last change decoded is not as the source made it, while it still tells its row; else
    // null. It must not be applied.
    virtual const Error *
    problem() const {
        return nullptr;
    }

    // Rewind() takes back what has been learnt of relations since the last Mark(), so that the
    // payloads since then can be decoded again. For decoders whose payloads tell all themselves
    // there is nothing to do.
    virtual void
    Mark() {}
    virtual void
    Rewind() {}

    // Whether the payload begins, ends, commits or aborts a part of a streamed transaction; kNone
    // for all others. Throws Error 08P01 if such a message is malformed.
    virtual TransactionMark
    MarkStreamed(std::string_view) const {
        return {};
    }
    // The payloads of one streamed transaction follow, from its first: what is known of relations
    // from elsewhere is not theirs, and what they tell counts for them only.
    virtual void
    BeginStreamed() {}
    // As Decode(), for a payload from inside a chunk. change.xid is that of the subtransaction, if
    // it is one, that made the change.
    virtual void
    DecodeStreamed(Lsn lsn, std::string_view payload, Change &change) {
        Decode(lsn, payload, change);
    }
};

} // namespace livemigrate
