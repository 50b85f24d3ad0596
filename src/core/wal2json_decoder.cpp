#include "core/wal2json_decoder.hpp"

#include "core/buffer_size.hpp"
#include "core/byte_reader.hpp"
#include "core/error.hpp"
#include "core/wal2json_relations.hpp"
#include "core/wal2json_scanner.hpp"
#include "core/wal2json_transaction.hpp"

#include <simdjson.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace livemigrate {

namespace {

namespace ondemand = simdjson::ondemand;

constexpr size_t kShownBytes = 13; // {"action":"I"

// What one huge row needed is given back when the rows are small again.
constexpr size_t kSmallestCapacity = BufferSize(size_t{16} << 10);
constexpr size_t kKeptCapacity = size_t{8} << 20;

[[noreturn]] void
ThrowMalformed(std::string message) {
    throw Error(sqlstate::kProtocolViolation, std::move(message));
}

[[noreturn]] void
ThrowJsonError(simdjson::error_code code) {
    if (code == simdjson::MEMALLOC) {
        throw std::bad_alloc();
    }
    throw Error(sqlstate::kProtocolViolation, code == simdjson::UTF8_ERROR
                                                  ? "wal2json message is not valid UTF-8"
                                                  : "wal2json message is not the JSON expected")
        .Detail(simdjson::error_message(code));
}

template <typename T>
T
Get(simdjson::simdjson_result<T> &&result) {
    T value;
    if (const auto code = std::move(result).get(value); code != simdjson::SUCCESS) [[unlikely]] {
        ThrowJsonError(code);
    }
    return value;
}

// ---- values ----

// The bytes of a scalar as they stand in the message; with any other value those up to its first
// inner token. simdjson's token runs to the next one, so blanks may follow.
std::string_view
RawToken(ondemand::value &value) {
    std::string_view token = value.raw_json_token();
    while (!token.empty() && static_cast<unsigned char>(token.back()) <= ' ') {
        token.remove_suffix(1);
    }
    return token;
}

// Most strings have no escapes and need not be copied. (simdjson's own unescaping is compiled for
// the oldest CPU, memchr is chosen at run time.)
std::string_view
ReadQuoted(ondemand::value &value, std::string_view token) {
    if (token.size() < 2 || token.back() != '"') {
        ThrowMalformed("wal2json message has an invalid string");
    }
    token = token.substr(1, token.size() - 2);
    if (std::memchr(token.data(), '\\', token.size()) == nullptr) {
        return token; // nor has it a NUL: simdjson refuses unescaped control characters
    }
    const std::string_view text = Get(value.get_string());
    if (text.find('\0') != std::string_view::npos) {
        ThrowMalformed("wal2json message has a string with a NUL character");
    }
    return text;
}

std::string_view
ReadString(ondemand::value &value) {
    const std::string_view token = RawToken(value);
    if (token.empty() || token.front() != '"') {
        ThrowMalformed("wal2json message has something else where a string is expected");
    }
    return ReadQuoted(value, token);
}

// Numbers stay text, since double has not the digits of numeric and bigint. What is a number is
// the question that wal2json asks before it leaves off the quotes; the target's type has the last
// word.
ColumnValue
ReadNumber(std::string_view token) {
    if (token.empty() || token.find_first_not_of("0123456789+-eE.") != std::string_view::npos) {
        ThrowMalformed("wal2json message has a column value that is not a scalar");
    }
    return {ValueKind::kText, token};
}

ColumnValue
ReadValue(ondemand::value &value) {
    const std::string_view token = RawToken(value);
    switch (token.empty() ? '\0' : token.front()) {
    case '"':
        return {ValueKind::kText, ReadQuoted(value, token)};
    case 'n':
        if (token == "null") {
            return {ValueKind::kNull, {}};
        }
        break;
    case 't':
        if (token == "true") {
            return {ValueKind::kText, "t"};
        }
        break;
    case 'f':
        if (token == "false") {
            return {ValueKind::kText, "f"};
        }
        break;
    }
    return ReadNumber(token);
}

// ---- messages ----

// The members of a message that matter, as bits. Each may occur once.
enum Member : unsigned {
    kAction = 1,
    kSchema = 2,
    kTable = 4,
    kColumns = 8,
    kIdentity = 16,
    kUnknown = 0,
};

Member
MemberOf(const ondemand::raw_json_string &name) {
    switch (*name.raw()) {
    case 'a':
        return name.unsafe_is_equal("action") ? kAction : kUnknown;
    case 's':
        return name.unsafe_is_equal("schema") ? kSchema : kUnknown;
    case 't':
        return name.unsafe_is_equal("table") ? kTable : kUnknown;
    case 'c':
        return name.unsafe_is_equal("columns") ? kColumns : kUnknown;
    case 'i':
        return name.unsafe_is_equal("identity") ? kIdentity : kUnknown;
    default:
        return kUnknown;
    }
}

// Which members an action has, no more and no less.
unsigned
RequiredMembers(ChangeKind kind) {
    constexpr unsigned kNames = kAction | kSchema | kTable;
    switch (kind) {
    case ChangeKind::kInsert:
        return kNames | kColumns;
    case ChangeKind::kUpdate:
        return kNames | kColumns | kIdentity;
    case ChangeKind::kDelete:
        return kNames | kIdentity;
    default:
        return kNames;
    }
}

ChangeKind
KindOf(char action) {
    switch (action) {
    case 'B':
        return ChangeKind::kBegin;
    case 'C':
        return ChangeKind::kCommit;
    case 'I':
        return ChangeKind::kInsert;
    case 'U':
        return ChangeKind::kUpdate;
    case 'D':
        return ChangeKind::kDelete;
    case 'T':
        return ChangeKind::kTruncate;
    case 'M':
        return ChangeKind::kIgnored;
    case 0:
        ThrowMalformed("wal2json message does not begin with its action");
    default:
        ThrowMalformed("unknown wal2json action");
    }
}

void
DecodeTransaction(std::string_view payload, Change &change) {
    const Wal2jsonTransaction transaction = ParseWal2jsonTransaction(payload);
    change.commit_lsn = transaction.commit_lsn;
    change.end_lsn = transaction.end_lsn;
    change.commit_time = transaction.commit_time;
    change.xid = transaction.xid;
}

} // namespace

class Wal2jsonDecoder::Impl {
  public:
    explicit Impl(IdentityFullLookup has_identity_full)
        : has_identity_full_(std::move(has_identity_full)) {}

    void Decode(std::string_view payload, Change &change);

  private:
    void DecodeRow(std::string_view payload, Change &change);
    void ParseRow(std::string_view payload, Change &change);
    void ReadMember(Member member, ondemand::value &value, Change &change);
    void ReadTuple(ondemand::value &value, Tuple &tuple);
    size_t ReadColumn(ondemand::value &element, size_t expected, Tuple &tuple);
    void Finish(Change &change);
    Wal2jsonTable &FindTable();
    simdjson::padded_string_view Pad(std::string_view payload);
    void Reserve(size_t capacity);

    IdentityFullLookup has_identity_full_;
    Wal2jsonRelations relations_;
    Wal2jsonScanner scanner_;

    // The message at hand.
    unsigned seen_ = 0; // bits of Member
    std::string_view schema_;
    std::string_view name_;
    Wal2jsonTable *table_ = nullptr;

    ondemand::parser parser_;
    std::unique_ptr<char[]> buffer_;
    size_t capacity_ = 0; // of buffer_, without the padding
};

void
Wal2jsonDecoder::Impl::Decode(std::string_view payload, Change &change) {
    change.kind = KindOf(Wal2jsonAction(payload));
    switch (change.kind) {
    case ChangeKind::kBegin:
    case ChangeKind::kCommit:
        return DecodeTransaction(payload, change);
    case ChangeKind::kIgnored:
        if (payload.back() != '}') {
            ThrowMalformed("wal2json message is truncated");
        }
        return;
    default:
        return DecodeRow(payload, change);
    }
}

void
Wal2jsonDecoder::Impl::DecodeRow(std::string_view payload, Change &change) {
    change.old_tuple.clear();
    change.new_tuple.clear();
    table_ = scanner_.Scan(payload, relations_, change);
    if (table_ == nullptr) {
        change.old_tuple.clear();
        change.new_tuple.clear();
        ParseRow(payload, change);
        table_ = &FindTable();
    }
    Finish(change);
}

// Any JSON that has the members needed, and the judge of all that has not.
void
Wal2jsonDecoder::Impl::ParseRow(std::string_view payload, Change &change) {
    seen_ = 0;
    ondemand::document document = Get(parser_.iterate(Pad(payload)));
    ondemand::object object = Get(document.get_object());
    for (auto field : object) {
        const ondemand::raw_json_string name = Get(field.key());
        ondemand::value value = Get(field.value());
        const Member member = MemberOf(name);
        if ((seen_ & member) != 0) {
            ThrowMalformed("wal2json message has a member twice");
        }
        seen_ |= member;
        ReadMember(member, value, change);
    }
    if (document.current_location().error() != simdjson::OUT_OF_BOUNDS) {
        ThrowMalformed("wal2json message has bytes behind its end");
    }
    if (seen_ != RequiredMembers(change.kind)) {
        ThrowMalformed("wal2json message lacks a member or has one too many");
    }
}

void
Wal2jsonDecoder::Impl::ReadMember(Member member, ondemand::value &value, Change &change) {
    switch (member) {
    case kSchema:
        schema_ = ReadString(value);
        return;
    case kTable:
        name_ = ReadString(value);
        return;
    case kColumns:
        return ReadTuple(value, change.new_tuple);
    case kIdentity:
        return ReadTuple(value, change.old_tuple);
    case kAction: // has been read
    case kUnknown:
        return;
    }
}

void
Wal2jsonDecoder::Impl::ReadTuple(ondemand::value &value, Tuple &tuple) {
    table_ = &FindTable();
    tuple.assign(table_->column_count(), ColumnValue());
    size_t expected = 0;
    ondemand::array array = Get(value.get_array());
    for (auto item : array) {
        ondemand::value element = Get(std::move(item));
        expected = ReadColumn(element, expected, tuple) + 1;
    }
}

// Reads {"name":...,"value":...} into the tuple and returns the position where it went.
size_t
Wal2jsonDecoder::Impl::ReadColumn(ondemand::value &element, size_t expected, Tuple &tuple) {
    std::string_view name;
    ColumnValue column;
    bool has_name = false;
    ondemand::object object = Get(element.get_object());
    for (auto field : object) {
        const ondemand::raw_json_string member = Get(field.key());
        ondemand::value value = Get(field.value());
        if (member.unsafe_is_equal("name")) {
            if (has_name) {
                ThrowMalformed("wal2json message has a column with two names");
            }
            has_name = true;
            name = ReadString(value);
        } else if (member.unsafe_is_equal("value")) {
            if (column.kind != ValueKind::kAbsent) {
                ThrowMalformed("wal2json message has a column with two values");
            }
            column = ReadValue(value);
        }
    }
    if (!has_name || column.kind == ValueKind::kAbsent) {
        ThrowMalformed("wal2json message has a column without name or value");
    }
    const size_t position = table_->FindColumn(name, expected);
    if (position >= tuple.size()) {
        tuple.resize(table_->column_count());
    }
    if (tuple[position].kind != ValueKind::kAbsent) {
        ThrowMalformed("wal2json message has a column twice");
    }
    tuple[position] = column;
    return position;
}

// Brings the tuples to the relation that all columns of the message have made.
void
Wal2jsonDecoder::Impl::Finish(Change &change) {
    Wal2jsonTable &table = *table_;
    if (change.kind == ChangeKind::kUpdate || change.kind == ChangeKind::kDelete) {
        if (!table.SetKey(change.old_tuple)) {
            ThrowMalformed("wal2json message has no identity");
        }
    }
    const auto &relation = table.Describe(has_identity_full_);
    change.old_tuple_is_full = false;
    if (change.kind == ChangeKind::kTruncate) {
        change.truncated.assign(1, relation);
        change.truncate_cascade = false;
        change.truncate_restart_identity = false;
        return;
    }
    if (change.relation != relation) {
        change.relation = relation;
    }
    // Columns that only the other tuple showed are appended; none is ever taken away.
    if (change.kind != ChangeKind::kDelete) {
        change.new_tuple.resize(relation->columns.size());
    }
    if (change.kind != ChangeKind::kInsert) {
        change.old_tuple.resize(relation->columns.size());
        change.old_tuple_is_full = relation->replica_identity == 'f';
    }
}

Wal2jsonTable &
Wal2jsonDecoder::Impl::FindTable() {
    constexpr unsigned kNames = kSchema | kTable;
    if ((seen_ & kNames) != kNames) {
        ThrowMalformed("wal2json message has columns before schema and table");
    }
    return relations_.Find(schema_, name_);
}

// Copies the payload to where simdjson may read beyond its end.
simdjson::padded_string_view
Wal2jsonDecoder::Impl::Pad(std::string_view payload) {
    const bool too_small = payload.size() > capacity_;
    const bool too_large = capacity_ > kKeptCapacity && payload.size() <= kKeptCapacity / 2;
    if (too_small || too_large) {
        Reserve(std::max(kSmallestCapacity, payload.size() + payload.size() / 4));
    }
    std::memcpy(buffer_.get(), payload.data(), payload.size());
    std::memset(buffer_.get() + payload.size(), 0, simdjson::SIMDJSON_PADDING);
    return simdjson::padded_string_view(buffer_.get(), payload.size(),
                                        capacity_ + simdjson::SIMDJSON_PADDING);
}

void
Wal2jsonDecoder::Impl::Reserve(size_t capacity) {
    capacity_ = 0; // until all of it is there
    buffer_.reset();
    buffer_.reset(new char[capacity + simdjson::SIMDJSON_PADDING]);
    if (const auto code = parser_.allocate(capacity); code != simdjson::SUCCESS) {
        ThrowJsonError(code);
    }
    capacity_ = capacity;
}

Wal2jsonDecoder::Wal2jsonDecoder(IdentityFullLookup has_identity_full)
    : impl_(std::make_unique<Impl>(std::move(has_identity_full))) {}

Wal2jsonDecoder::~Wal2jsonDecoder() = default;

void
Wal2jsonDecoder::Decode(Lsn lsn, std::string_view payload, Change &change) {
    try {
        impl_->Decode(payload, change);
    } catch (const Error &error) {
        throw Error(error.sqlstate(), error.message())
            .Detail((error.detail().empty() ? "" : error.detail() + " ") +
                    "The wal2json message at " + lsn.ToString() + " has " +
                    std::to_string(payload.size()) + " bytes and begins with " +
                    FirstBytes(payload, kShownBytes) + ".");
    }
}

TransactionMark
MarkWal2json(std::string_view payload) {
    TransactionMark mark;
    const char action = Wal2jsonAction(payload);
    if (action != 'B' && action != 'C') {
        return mark;
    }
    const Wal2jsonTransaction transaction = ParseWal2jsonTransaction(payload);
    mark.commit_lsn = transaction.commit_lsn;
    if (action == 'B') {
        mark.kind = TransactionMark::Kind::kBegin;
    } else {
        mark.kind = TransactionMark::Kind::kCommit;
        mark.end_lsn = transaction.end_lsn;
    }
    return mark;
}

} // namespace livemigrate
