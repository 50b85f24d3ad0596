#include "core/apply_share.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <array>

namespace livemigrate {

namespace {

constexpr uint64_t kFnvPrime = 0x100000001b3;

// Descriptions of tables that are kept; a stream that describes its tables anew all the time must
// not fill the memory.
constexpr size_t kMostTables = 100'000;

constexpr std::array<std::pair<Dealing, std::string_view>, 3> kNames = {{
    {Dealing::kFirst, "first"},
    {Dealing::kTable, "table"},
    {Dealing::kKey, "key"},
}};

} // namespace

Dealing
ParseDealing(std::string_view name) {
    for (const auto &[dealing, known] : kNames) {
        if (known == name) {
            return dealing;
        }
    }
    throw Error(sqlstate::kDataCorrupted,
                "unknown way of dealing a table's changes: " + std::string(name));
}

std::string_view
DealingName(Dealing dealing) {
    return std::find_if(kNames.begin(), kNames.end(),
                        [&](const auto &one) { return one.first == dealing; })
        ->second;
}

void
ShareHash::Add(std::string_view text) {
    for (uint64_t length = text.size(), i = 0; i < 8; i++, length >>= 8) {
        state_ = (state_ ^ (length & 0xff)) * kFnvPrime;
    }
    for (char byte : text) {
        state_ = (state_ ^ static_cast<unsigned char>(byte)) * kFnvPrime;
    }
}

uint64_t
ShareHash::Value() const {
    uint64_t value = state_;
    value ^= value >> 33;
    value *= 0xff51afd7ed558ccd;
    value ^= value >> 33;
    value *= 0xc4ceb9fe1a85ec53;
    return value ^ (value >> 33);
}

ApplyShares::ApplyShares(uint32_t count, Dealings dealings)
    : count_(count), dealings_(std::move(dealings)) {}

std::optional<uint32_t>
ApplyShares::WorkerOf(const Change &change) {
    const Table &table = Find(change.relation);
    if (table.dealing != Dealing::kKey) {
        return table.worker;
    }
    if (!table.is_regular || change.old_tuple_is_full) {
        return std::nullopt;
    }
    const Tuple &old = change.old_tuple;
    // wal2json tells the key with each update and delete only.
    for (size_t i = 0; i < old.size(); i++) {
        const bool in_key = i < table.in_key.size() && table.in_key[i];
        if ((old[i].kind != ValueKind::kAbsent) != in_key) {
            return std::nullopt;
        }
    }
    if (change.kind == ChangeKind::kInsert || (change.kind == ChangeKind::kUpdate && old.empty())) {
        return WorkerOfKey(table, change.new_tuple, old);
    }
    const std::optional<uint32_t> from = WorkerOfKey(table, old, old);
    if (change.kind == ChangeKind::kDelete) {
        return from;
    }
    const std::optional<uint32_t> to = WorkerOfKey(table, change.new_tuple, old);
    return from == to ? from : std::nullopt;
}

// `instead` has the values of columns that the tuple says nothing about.
std::optional<uint32_t>
ApplyShares::WorkerOfKey(const Table &table, const Tuple &tuple, const Tuple &instead) const {
    ShareHash hash = table.hash;
    for (size_t column : table.key) {
        const ColumnValue *value = column < tuple.size() ? &tuple[column] : nullptr;
        if ((value == nullptr || !IsSent(*value)) && column < instead.size()) {
            value = &instead[column];
        }
        if (value == nullptr || !IsSent(*value) || value->kind == ValueKind::kNull) {
            return std::nullopt;
        }
        hash.Add(value->data);
    }
    return static_cast<uint32_t>(hash.Value() % count_);
}

bool
ApplyShares::TruncateIsBarrier(const RemoteRelation &relation) const {
    const auto found = dealings_.find({relation.schema, relation.name});
    return count_ > 1 && found != dealings_.end() && found->second.dealing != Dealing::kFirst;
}

const ApplyShares::Table &
ApplyShares::Find(const std::shared_ptr<const RemoteRelation> &relation) {
    // Changes of a table come in runs.
    if (last_ != nullptr && last_->relation == relation) {
        return *last_;
    }
    auto found = tables_.find(relation.get());
    if (found == tables_.end()) {
        if (tables_.size() >= kMostTables) {
            tables_.clear();
        }
        found = tables_.emplace(relation.get(), Describe(relation)).first;
    }
    last_ = &found->second;
    return *last_;
}

ApplyShares::Table
ApplyShares::Describe(const std::shared_ptr<const RemoteRelation> &relation) const {
    Table table;
    table.relation = relation;
    const auto found = dealings_.find({relation->schema, relation->name});
    if (found == dealings_.end() || found->second.dealing == Dealing::kFirst) {
        return table;
    }
    table.dealing = found->second.dealing;
    table.hash.Add(relation->schema);
    table.hash.Add(relation->name);
    if (table.dealing == Dealing::kTable) {
        table.worker = static_cast<uint32_t>(table.hash.Value() % count_);
        return table;
    }
    const std::vector<RemoteColumn> &columns = relation->columns;
    table.in_key.resize(columns.size());
    for (const std::string &name : found->second.key) {
        const auto column = std::find_if(columns.begin(), columns.end(),
                                         [&](const RemoteColumn &one) { return one.name == name; });
        if (column == columns.end()) {
            return table;
        }
        table.key.push_back(static_cast<size_t>(column - columns.begin()));
        table.in_key[table.key.back()] = true;
    }
    // pgoutput describes the replica identity; somebody may have changed it since.
    const bool is_described = relation->replica_identity != 0;
    table.is_regular = !table.key.empty();
    for (size_t i = 0; is_described && i < columns.size(); i++) {
        table.is_regular = table.is_regular && columns[i].is_key == table.in_key[i];
    }
    return table;
}

} // namespace livemigrate
