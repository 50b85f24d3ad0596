#include "core/change_batch.hpp"

#include <cstring>
#include <utility>

namespace livemigrate {

namespace {

constexpr size_t kFirstBlockSize = 1 << 20;

} // namespace

ChangeBatch::ChangeBatch(size_t max_items, size_t max_bytes)
    : max_items_(max_items), max_bytes_(max_bytes), first_block_(new std::byte[kFirstBlockSize]),
      memory_(first_block_.get(), kFirstBlockSize) {}

ChangeBatch::~ChangeBatch() = default;

void
ChangeBatch::BeginTransaction(Transaction transaction) {
    transaction_ = transaction;
}

void
ChangeBatch::EndTransaction() {
    complete_ = items_.size();
}

void
ChangeBatch::DropOpenTransaction() {
    items_.resize(complete_);
}

void
ChangeBatch::Add(const Change &change) {
    Item item;
    item.row.kind = change.kind;
    item.row.old_tuple_is_full = change.old_tuple_is_full;
    item.row.relation = change.relation.get();
    Keep(change.relation);
    item.row.old_tuple = Copy(change.old_tuple);
    item.row.new_tuple = Copy(change.new_tuple);
    item.transaction = transaction_;
    items_.push_back(item);
    bytes_ += sizeof(Item);
}

void
ChangeBatch::AddTruncate(std::shared_ptr<const RemoteRelation> relation, bool restart_identity) {
    if (items_.size() == complete_ || items_.back().row.kind != ChangeKind::kTruncate) {
        Item item;
        item.row.kind = ChangeKind::kTruncate;
        item.truncation = static_cast<uint32_t>(truncations_.size());
        item.transaction = transaction_;
        items_.push_back(item);
        truncations_.emplace_back();
    }
    Truncation &truncation = truncations_[items_.back().truncation];
    truncation.relations.push_back(std::move(relation));
    truncation.restart_identity = truncation.restart_identity || restart_identity;
}

void
ChangeBatch::Keep(const std::shared_ptr<const RemoteRelation> &relation) {
    // Changes of a table come in runs.
    if (last_relation_ != relation.get()) {
        relations_.try_emplace(relation.get(), relation);
        last_relation_ = relation.get();
    }
}

TupleView
ChangeBatch::Copy(const Tuple &tuple) {
    if (tuple.empty()) {
        return {};
    }
    size_t size = tuple.size() * sizeof(ColumnValue);
    for (const ColumnValue &value : tuple) {
        size += value.data.size() + 1;
    }
    bytes_ += size;
    auto *memory = static_cast<char *>(memory_.allocate(size, alignof(ColumnValue)));
    auto *values = reinterpret_cast<ColumnValue *>(memory);
    char *data = memory + tuple.size() * sizeof(ColumnValue);
    for (size_t i = 0; i < tuple.size(); i++) {
        const std::string_view from = tuple[i].data;
        if (!from.empty()) {
            std::memcpy(data, from.data(), from.size());
        }
        data[from.size()] = '\0';
        new (values + i) ColumnValue{tuple[i].kind, std::string_view(data, from.size())};
        data += from.size() + 1;
    }
    return {values, tuple.size()};
}

// Their memory stays with that of the open transaction until Clear().
void
ChangeBatch::EraseComplete() {
    if (complete_ == items_.size()) {
        Clear();
        return;
    }
    items_.erase(items_.begin(), items_.begin() + static_cast<std::ptrdiff_t>(complete_));
    complete_ = 0;
}

void
ChangeBatch::Clear() {
    items_.clear();
    truncations_.clear();
    relations_.clear();
    last_relation_ = nullptr;
    complete_ = 0;
    bytes_ = 0;
    memory_.release();
}

} // namespace livemigrate
