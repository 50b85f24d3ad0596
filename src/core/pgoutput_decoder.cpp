#include "core/pgoutput_decoder.hpp"

#include "core/byte_reader.hpp"
#include "core/error.hpp"

#include <algorithm>
#include <utility>

namespace livemigrate {

namespace {

// Type, relation id, tuple kind, column count: what every row message has before its first value.
constexpr size_t kShownBytes = 8;

constexpr uint8_t kColumnIsKey = 1;     // a column's flags
constexpr uint8_t kTruncateCascade = 1; // a truncation's flags
constexpr uint8_t kTruncateRestart = 2;
constexpr size_t kSmallestColumn = 1 + 1 + 4 + 4; // flags, empty name, type, modifier

[[noreturn]] void
ThrowMalformed(std::string message, const ByteReader &reader) {
    throw Error(sqlstate::kProtocolViolation, std::move(message))
        .Detail("Found before offset " + std::to_string(reader.offset()) + ".");
}

// Adds to an error what is known only here. Never more of the payload than its head: the rest may
// hold a row's values.
[[noreturn]] void
ThrowWithPosition(const Error &error, Lsn lsn, std::string_view payload) {
    throw Error(error.sqlstate(), error.message())
        .Detail(error.detail() + " The pgoutput message at " + lsn.ToString() + " has " +
                std::to_string(payload.size()) + " bytes and begins with " +
                FirstBytes(payload, kShownBytes) + ".");
}

// ---- transactions ----

void
DecodeBegin(ByteReader &reader, Change &change) {
    change.kind = ChangeKind::kBegin;
    change.commit_lsn.value = reader.ReadU64();
    change.commit_time = reader.ReadI64();
    change.xid = reader.ReadU32();
    if (!change.commit_lsn.valid()) {
        ThrowMalformed("begin message has no commit position", reader);
    }
}

void
DecodeCommit(ByteReader &reader, Change &change) {
    change.kind = ChangeKind::kCommit;
    if (reader.ReadU8() != 0) {
        ThrowMalformed("commit message has unknown flags", reader);
    }
    change.commit_lsn.value = reader.ReadU64();
    change.end_lsn.value = reader.ReadU64();
    change.commit_time = reader.ReadI64();
    if (!change.commit_lsn.valid() || change.end_lsn <= change.commit_lsn) {
        ThrowMalformed("commit message has impossible positions", reader);
    }
}

// ---- streamed transactions ----

uint32_t
ReadXid(ByteReader &reader) {
    const uint32_t xid = reader.ReadU32();
    if (xid == 0) {
        ThrowMalformed("message of a streamed transaction has no transaction id", reader);
    }
    return xid;
}

TransactionMark
ReadStreamStart(ByteReader &reader) {
    TransactionMark mark;
    mark.kind = TransactionMark::Kind::kStreamStart;
    mark.xid = ReadXid(reader);
    mark.first_chunk = reader.ReadU8() == 1;
    return mark;
}

// A Commit behind the transaction's id.
TransactionMark
ReadStreamCommit(ByteReader &reader) {
    TransactionMark mark;
    mark.kind = TransactionMark::Kind::kStreamCommit;
    mark.xid = ReadXid(reader);
    Change change;
    DecodeCommit(reader, change);
    mark.commit_lsn = change.commit_lsn;
    mark.end_lsn = change.end_lsn;
    mark.commit_time = change.commit_time;
    return mark;
}

TransactionMark
ReadStreamAbort(ByteReader &reader) {
    TransactionMark mark;
    mark.kind = TransactionMark::Kind::kStreamAbort;
    mark.xid = ReadXid(reader);
    mark.subxid = ReadXid(reader);
    return mark;
}

bool
IsStreamMark(std::string_view payload) {
    return !payload.empty() &&
           (payload[0] == 'S' || payload[0] == 'E' || payload[0] == 'c' || payload[0] == 'A');
}

TransactionMark
ReadStreamMark(std::string_view payload) {
    ByteReader reader(payload);
    TransactionMark mark;
    switch (reader.ReadU8()) {
    case 'S':
        mark = ReadStreamStart(reader);
        break;
    case 'E':
        mark.kind = TransactionMark::Kind::kStreamStop;
        break;
    case 'c':
        mark = ReadStreamCommit(reader);
        break;
    default:
        mark = ReadStreamAbort(reader);
        break;
    }
    reader.ExpectEnd();
    return mark;
}

// ---- messages with nothing to apply; read to the end all the same, so that damage shows ----

void
SkipOrigin(ByteReader &reader) {
    reader.ReadU64(); // commit position on the origin
    reader.ReadCString();
}

void
SkipType(ByteReader &reader) {
    reader.ReadU32(); // the type's OID
    reader.ReadCString();
    reader.ReadCString();
}

void
SkipLogicalMessage(ByteReader &reader) {
    reader.ReadU8();  // transactional or not
    reader.ReadU64(); // its position
    reader.ReadCString();
    reader.ReadBytes(reader.ReadU32());
}

// ---- relations ----

RemoteColumn
ReadColumn(ByteReader &reader) {
    RemoteColumn column;
    column.is_key = (reader.ReadU8() & kColumnIsKey) != 0;
    column.name = reader.ReadCString();
    column.type_oid = reader.ReadU32();
    column.type_modifier = reader.ReadI32();
    return column;
}

// The apply side finds columns by name, so two of one name would be ambiguous.
bool
HasDuplicateNames(const std::vector<RemoteColumn> &columns) {
    std::vector<std::string_view> names;
    names.reserve(columns.size());
    for (const RemoteColumn &column : columns) {
        names.emplace_back(column.name);
    }
    std::sort(names.begin(), names.end());
    return std::adjacent_find(names.begin(), names.end()) != names.end();
}

RemoteRelation
ReadRelation(ByteReader &reader) {
    RemoteRelation relation;
    relation.remote_id = reader.ReadU32();
    relation.schema = reader.ReadCString();
    if (relation.schema.empty()) {
        relation.schema = "pg_catalog"; // sent as "" (proto.c, logicalrep_write_namespace)
    }
    relation.name = reader.ReadCString();
    relation.replica_identity = static_cast<char>(reader.ReadU8());
    const size_t column_count = reader.ReadU16();
    // Not more than the message can hold, whatever the count says.
    relation.columns.reserve(std::min(column_count, reader.remaining() / kSmallestColumn));
    for (size_t i = 0; i < column_count; i++) {
        relation.columns.push_back(ReadColumn(reader));
    }
    if (HasDuplicateNames(relation.columns)) {
        ThrowMalformed("relation message has a column name twice", reader);
    }
    return relation;
}

bool
SameDescription(const RemoteRelation &a, const RemoteRelation &b) {
    return a.remote_id == b.remote_id && a.replica_identity == b.replica_identity &&
           a.schema == b.schema && a.name == b.name && a.columns == b.columns;
}

// ---- tuples ----

// Lengths are unsigned here: a negative one is larger than any message, so "truncated".
inline ColumnValue
ReadValue(ByteReader &reader) {
    switch (reader.ReadU8()) {
    case 'n':
        return {ValueKind::kNull, {}};
    case 'u':
        return {ValueKind::kUnchanged, {}};
    case 't':
        return {ValueKind::kText, reader.ReadBytes(reader.ReadU32())};
    case 'b':
        return {ValueKind::kBinary, reader.ReadBytes(reader.ReadU32())};
    default:
        ThrowMalformed("tuple has an unknown kind of value", reader);
    }
}

// Forms of values, of which a tuple has any.
constexpr uint8_t kTextForm = 1;
constexpr uint8_t kBinaryForm = 2;

inline uint8_t
FormOf(const ColumnValue &value) {
    return value.kind == ValueKind::kBinary ? kBinaryForm
           : value.kind == ValueKind::kText ? kTextForm
                                            : uint8_t{0};
}

// Returns the forms of its values.
uint8_t
ReadTuple(ByteReader &reader, const RemoteRelation &relation, Tuple &tuple) {
    const size_t column_count = reader.ReadU16();
    if (column_count != relation.columns.size()) {
        ThrowMalformed("tuple has " + std::to_string(column_count) + " columns, its relation has " +
                           std::to_string(relation.columns.size()),
                       reader);
    }
    tuple.resize(column_count); // no more than a relation message really listed
    uint8_t forms = 0;
    for (ColumnValue &value : tuple) {
        value = ReadValue(reader);
        forms |= FormOf(value);
    }
    return forms;
}

} // namespace

void
PgoutputDecoder::Decode(Lsn lsn, std::string_view payload, Change &change) {
    Use(false);
    try {
        ByteReader reader(payload);
        DecodeMessage(reader, change);
        reader.ExpectEnd();
    } catch (const Error &error) {
        ThrowWithPosition(error, lsn, payload);
    }
}

TransactionMark
PgoutputDecoder::MarkStreamed(std::string_view payload) const {
    return IsStreamMark(payload) ? ReadStreamMark(payload) : TransactionMark{};
}

void
PgoutputDecoder::BeginStreamed() {
    streamed_relations_.clear();
    last_relation_.reset();
}

void
PgoutputDecoder::DecodeStreamed(Lsn lsn, std::string_view payload, Change &change) {
    Use(true);
    try {
        ByteReader reader(payload);
        DecodeInChunk(reader, change);
        reader.ExpectEnd();
    } catch (const Error &error) {
        ThrowWithPosition(error, lsn, payload);
    }
}

// Messages of plain transactions and of a streamed one do not share what they say of relations.
void
PgoutputDecoder::Use(bool streamed) {
    if (streamed_ != streamed) {
        streamed_ = streamed;
        last_relation_.reset();
    }
}

void
PgoutputDecoder::Mark() {
    replaced_.clear();
}

void
PgoutputDecoder::Rewind() {
    for (auto one = replaced_.rbegin(); one != replaced_.rend(); ++one) {
        if (one->second == nullptr) {
            relations_.erase(one->first);
        } else {
            relations_[one->first] = std::move(one->second);
        }
    }
    replaced_.clear();
    last_relation_.reset();
}

void
PgoutputDecoder::DecodeMessage(ByteReader &reader, Change &change) {
    change.kind = ChangeKind::kIgnored;
    switch (reader.ReadU8()) {
    case 'B':
        return DecodeBegin(reader, change);
    case 'C':
        return DecodeCommit(reader, change);
    case 'I':
        return DecodeInsert(reader, change);
    case 'U':
        return DecodeUpdate(reader, change);
    case 'D':
        return DecodeDelete(reader, change);
    case 'T':
        return DecodeTruncate(reader, change);
    case 'R':
        return DecodeRelation(reader);
    case 'O':
        return SkipOrigin(reader);
    case 'Y':
        return SkipType(reader);
    case 'M':
        return SkipLogicalMessage(reader);
    default:
        ThrowMalformed("unknown pgoutput message type", reader);
    }
}

// Inside a chunk every message but Origin has a transaction id behind its type.
void
PgoutputDecoder::DecodeInChunk(ByteReader &reader, Change &change) {
    change.kind = ChangeKind::kIgnored;
    const uint8_t type = reader.ReadU8();
    if (type == 'O') {
        return SkipOrigin(reader);
    }
    change.xid = ReadXid(reader);
    switch (type) {
    case 'I':
        return DecodeInsert(reader, change);
    case 'U':
        return DecodeUpdate(reader, change);
    case 'D':
        return DecodeDelete(reader, change);
    case 'T':
        return DecodeTruncate(reader, change);
    case 'R':
        return DecodeRelation(reader);
    case 'Y':
        return SkipType(reader);
    case 'M':
        return SkipLogicalMessage(reader);
    default:
        ThrowMalformed("unknown pgoutput message type in a streamed transaction", reader);
    }
}

void
PgoutputDecoder::DecodeRelation(ByteReader &reader) {
    RemoteRelation relation = ReadRelation(reader);
    reader.ExpectEnd(); // before anything is remembered
    const Relations &known = streamed_ ? last_streamed_ : relations_;
    const auto found = known.find(relation.remote_id);
    // Descriptions are repeated, at least after each reconnect; most say nothing new.
    if (found != known.end() && SameDescription(*found->second, relation)) {
        if (streamed_) {
            Describe(found->second);
        }
        return;
    }
    Describe(std::make_shared<const RemoteRelation>(std::move(relation)));
}

void
PgoutputDecoder::Describe(RelationPtr relation) {
    last_relation_ = std::move(relation);
    const uint32_t remote_id = last_relation_->remote_id;
    if (streamed_) {
        last_streamed_[remote_id] = last_relation_;
        streamed_relations_[remote_id] = last_relation_;
        return;
    }
    RelationPtr &known = relations_[remote_id];
    replaced_.emplace_back(remote_id, known);
    known = last_relation_;
}

void
PgoutputDecoder::DecodeInsert(ByteReader &reader, Change &change) {
    change.kind = ChangeKind::kInsert;
    ReadRowRelation(reader, change);
    change.old_tuple.clear();
    change.old_tuple_is_full = false;
    ReadNewTuple(reader, reader.ReadU8(), change);
}

void
PgoutputDecoder::DecodeUpdate(ByteReader &reader, Change &change) {
    change.kind = ChangeKind::kUpdate;
    ReadRowRelation(reader, change);
    uint8_t kind = reader.ReadU8();
    if (kind == 'K' || kind == 'O') {
        ReadOldTuple(reader, kind, change);
        kind = reader.ReadU8();
    } else {
        change.old_tuple.clear();
        change.old_tuple_is_full = false;
    }
    ReadNewTuple(reader, kind, change);
}

void
PgoutputDecoder::DecodeDelete(ByteReader &reader, Change &change) {
    change.kind = ChangeKind::kDelete;
    ReadRowRelation(reader, change);
    const uint8_t kind = reader.ReadU8();
    if (kind != 'K' && kind != 'O') {
        ThrowMalformed("delete message lacks the old tuple", reader);
    }
    ReadOldTuple(reader, kind, change);
    change.new_tuple.clear();
}

void
PgoutputDecoder::DecodeTruncate(ByteReader &reader, Change &change) {
    change.kind = ChangeKind::kTruncate;
    const uint32_t relation_count = reader.ReadU32();
    const uint8_t flags = reader.ReadU8();
    change.truncate_cascade = (flags & kTruncateCascade) != 0;
    change.truncate_restart_identity = (flags & kTruncateRestart) != 0;
    change.truncated.clear();
    for (uint32_t i = 0; i < relation_count; i++) {
        change.truncated.push_back(FindRelation(reader));
    }
}

// Sets change.relation, without touching its reference count while rows of one table follow each
// other.
void
PgoutputDecoder::ReadRowRelation(ByteReader &reader, Change &change) {
    const RelationPtr &relation = FindRelation(reader);
    if (change.relation != relation) {
        change.relation = relation;
    }
}

// Reads an old tuple of the kind given: 'K' (key) or 'O' (whole row).
void
PgoutputDecoder::ReadOldTuple(ByteReader &reader, uint8_t kind, Change &change) {
    SeeForm(ReadTuple(reader, *change.relation, change.old_tuple), change);
    change.old_tuple_is_full = kind == 'O';
    if (kind == 'K') {
        // The key comes as a whole row in which all else is NULL; that NULL is not the row's.
        for (size_t i = 0; i < change.old_tuple.size(); i++) {
            if (!change.relation->columns[i].is_key) {
                change.old_tuple[i] = ColumnValue();
            }
        }
    }
}

void
PgoutputDecoder::ReadNewTuple(ByteReader &reader, uint8_t kind, Change &change) {
    if (kind != 'N') {
        ThrowMalformed("row message lacks the new tuple", reader);
    }
    SeeForm(ReadTuple(reader, *change.relation, change.new_tuple), change);
}

// A connection sends all values in one form, which its rows tell, not its descriptions.
void
PgoutputDecoder::SeeForm(uint8_t forms, Change &change) {
    const bool binary = (forms & kBinaryForm) != 0;
    if (forms == 0 || change.relation->binary == binary) {
        return;
    }
    auto described = std::make_shared<RemoteRelation>(*change.relation);
    described->binary = binary;
    Describe(std::move(described));
    change.relation = last_relation_;
}

const PgoutputDecoder::RelationPtr &
PgoutputDecoder::FindRelation(ByteReader &reader) {
    const uint32_t remote_id = reader.ReadU32();
    if (last_relation_ != nullptr && last_relation_->remote_id == remote_id) {
        return last_relation_;
    }
    const Relations &relations = streamed_ ? streamed_relations_ : relations_;
    const auto found = relations.find(remote_id);
    if (found == relations.end()) {
        ThrowMalformed("relation " + std::to_string(remote_id) + " has not been described", reader);
    }
    last_relation_ = found->second;
    return last_relation_;
}

namespace {

std::string
BigEndian(uint32_t value) {
    std::string bytes;
    for (int shift = 24; shift >= 0; shift -= 8) {
        bytes.push_back(static_cast<char>(value >> shift));
    }
    return bytes;
}

} // namespace

std::string
BuildStreamStart(uint32_t xid) {
    return "S" + BigEndian(xid) + '\0';
}

std::string
BuildStreamAbort(uint32_t xid) {
    return "A" + BigEndian(xid) + BigEndian(xid);
}

TransactionMark
MarkPgoutput(std::string_view payload) {
    if (IsStreamMark(payload)) {
        return ReadStreamMark(payload);
    }
    TransactionMark mark;
    if (payload.empty() || (payload[0] != 'B' && payload[0] != 'C')) {
        return mark;
    }
    ByteReader reader(payload);
    Change change;
    if (reader.ReadU8() == 'B') {
        DecodeBegin(reader, change);
        mark.kind = TransactionMark::Kind::kBegin;
    } else {
        DecodeCommit(reader, change);
        mark.kind = TransactionMark::Kind::kCommit;
        mark.end_lsn = change.end_lsn;
    }
    reader.ExpectEnd();
    mark.commit_lsn = change.commit_lsn;
    return mark;
}

} // namespace livemigrate
