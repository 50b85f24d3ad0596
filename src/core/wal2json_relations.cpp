#include "core/wal2json_relations.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <utility>

namespace livemigrate {

namespace {

// A table has at most 1600 columns, but the names of dropped and renamed ones stay with us.
constexpr size_t kMaxColumns = 65535;

std::string
MakeColumnText(std::string_view name) {
    const auto needs_escape = [](char c) {
        return c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20;
    };
    if (std::any_of(name.begin(), name.end(), needs_escape)) {
        return "";
    }
    return "{\"name\":\"" + std::string(name) + "\",\"value\":";
}

} // namespace

size_t
Wal2jsonTable::FindOrAppendColumn(std::string_view name) {
    if (const auto found = positions_.find(name); found != positions_.end()) {
        return found->second;
    }
    if (columns_.size() == kMaxColumns) {
        throw Error(sqlstate::kProtocolViolation,
                    "wal2json messages name too many columns of one table");
    }
    const size_t position = columns_.size();
    RemoteColumn column;
    column.name = name;
    columns_.push_back(std::move(column));
    texts_.push_back(MakeColumnText(name));
    changed_ = true;
    positions_.emplace(name, position);
    return position;
}

bool
Wal2jsonTable::SetKey(const Tuple &identity) {
    const auto is_present = [](const ColumnValue &value) {
        return value.kind != ValueKind::kAbsent;
    };
    if (std::none_of(identity.begin(), identity.end(), is_present)) {
        return false;
    }
    for (size_t i = 0; i < columns_.size(); i++) {
        const bool is_key = i < identity.size() && is_present(identity[i]);
        if (columns_[i].is_key != is_key) {
            columns_[i].is_key = is_key;
            changed_ = true;
        }
    }
    return true;
}

void
Wal2jsonTable::DescribeAnew(
    const std::function<bool(std::string_view, std::string_view)> &has_identity_full) {
    auto relation = std::make_shared<RemoteRelation>();
    relation->schema = schema_;
    relation->name = name_;
    relation->columns = columns_;
    if (has_identity_full && has_identity_full(schema_, name_)) {
        relation->replica_identity = 'f';
    }
    relation_ = std::move(relation);
    changed_ = false;
}

Wal2jsonTable &
Wal2jsonRelations::FindOrMake(std::string_view schema, std::string_view name) {
    if (const auto found = tables_.find(NameView{schema, name}); found != tables_.end()) {
        return found->second;
    }
    return tables_
        .emplace(Name{std::string(schema), std::string(name)}, Wal2jsonTable(schema, name))
        .first->second;
}

} // namespace livemigrate
