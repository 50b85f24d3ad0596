#include "core/net_effect.hpp"

#include <algorithm>
#include <cstring>

namespace livemigrate {

namespace {

bool
IsWhole(TupleView tuple) {
    return std::all_of(tuple.begin(), tuple.end(), IsSent);
}

bool
IsText(const ColumnValue &value) {
    return value.kind == ValueKind::kText || value.kind == ValueKind::kBinary;
}

} // namespace

NetEffect::NetEffect(const RemoteRelation &relation, std::pmr::memory_resource *memory)
    : memory_(memory), entries_(memory), by_key_(memory) {
    for (size_t i = 0; i < relation.columns.size(); i++) {
        if (relation.columns[i].is_key) {
            key_columns_.push_back(static_cast<uint16_t>(i));
        }
    }
}

bool
NetEffect::Add(const RowChange &change) {
    if (change.kind == ChangeKind::kInsert && key_columns_.empty()) {
        return Insert(entries_.emplace_back(), change.new_tuple);
    }
    if (change.old_tuple_is_full || key_columns_.empty()) {
        return false;
    }
    only_inserts_ = only_inserts_ && change.kind == ChangeKind::kInsert;
    const TupleView key = change.old_tuple.empty() ? change.new_tuple : change.old_tuple;
    Entry *entry = Find(key);
    if (entry == nullptr) {
        return false;
    }
    switch (change.kind) {
    case ChangeKind::kInsert:
        return Insert(*entry, change.new_tuple);
    case ChangeKind::kDelete:
        return Delete(*entry);
    default:
        break;
    }
    if (change.old_tuple.empty() || KeyText(change.old_tuple) == KeyText(change.new_tuple)) {
        return Update(*entry, change.new_tuple);
    }
    // The key changes: the row goes from one place and comes up at another.
    if (!IsWhole(change.new_tuple) || !Delete(*entry)) {
        return false;
    }
    Entry *moved = Find(change.new_tuple);
    return moved != nullptr && Insert(*moved, change.new_tuple);
}

// Null if the key has a value that is not there.
NetEffect::Entry *
NetEffect::Find(TupleView key) {
    for (uint16_t column : key_columns_) {
        if (!IsText(key[column])) {
            return nullptr;
        }
    }
    const auto [found, is_new] =
        by_key_.try_emplace(KeyText(key), static_cast<uint32_t>(entries_.size()));
    if (is_new) {
        entries_.emplace_back().key = key;
    }
    return &entries_[found->second];
}

// One column is its own text; several are joined, each behind its length.
std::string_view
NetEffect::KeyText(TupleView key) {
    if (key_columns_.size() == 1) {
        return key[key_columns_[0]].data;
    }
    size_t size = 0;
    for (uint16_t column : key_columns_) {
        size += sizeof(uint32_t) + key[column].data.size();
    }
    auto *text = static_cast<char *>(memory_->allocate(size, 1));
    char *end = text;
    for (uint16_t column : key_columns_) {
        const std::string_view data = key[column].data;
        const auto length = static_cast<uint32_t>(data.size());
        std::memcpy(end, &length, sizeof(length));
        end += sizeof(length);
        if (!data.empty()) {
            std::memcpy(end, data.data(), data.size());
        }
        end += data.size();
    }
    return {text, size};
}

bool
NetEffect::Insert(Entry &entry, TupleView values) {
    // A row that is there already, or was when the series began, cannot be inserted.
    if (entry.result != Result::kNothing || !IsWhole(values)) {
        return false;
    }
    entry.touched = true;
    entry.result = Result::kInserted;
    entry.values = values;
    return true;
}

bool
NetEffect::Update(Entry &entry, TupleView values) {
    if (entry.result == Result::kNothing) {
        if (entry.touched) {
            return false; // deleted before
        }
        entry.touched = true;
        entry.result = Result::kUpdated;
        entry.values = values;
        return true;
    }
    entry.values = Merge(entry.values, values);
    return true;
}

bool
NetEffect::Delete(Entry &entry) {
    if (entry.result == Result::kNothing && entry.touched) {
        return false; // deleted before
    }
    // What this series inserted is simply gone; anything else was there before it.
    entry.deleted = entry.deleted || entry.result != Result::kInserted;
    entry.touched = true;
    entry.result = Result::kNothing;
    entry.values = {};
    return true;
}

// `after`, with what it does not say taken from `before`.
TupleView
NetEffect::Merge(TupleView before, TupleView after) {
    if (IsWhole(after)) {
        return after;
    }
    auto *merged = static_cast<ColumnValue *>(
        memory_->allocate(after.size() * sizeof(ColumnValue), alignof(ColumnValue)));
    for (size_t i = 0; i < after.size(); i++) {
        new (merged + i) ColumnValue(IsSent(after[i]) ? after[i] : before[i]);
    }
    return {merged, after.size()};
}

} // namespace livemigrate
