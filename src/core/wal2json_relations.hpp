// The tables of a wal2json stream, put together from the column names that its messages show.
#pragma once

#include "core/change.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace livemigrate {

struct TextHash {
    using is_transparent = void;
    size_t
    operator()(std::string_view text) const {
        return std::hash<std::string_view>()(text);
    }
};

// One table as far as the stream has shown it.
class Wal2jsonTable {
  public:
    Wal2jsonTable(std::string_view schema, std::string_view name) : schema_(schema), name_(name) {}

    // The position of a column, which is appended if its name is new. `expected` is where to look
    // first. Throws Error 08P01 when a table gets more columns than any can have.
    size_t
    FindColumn(std::string_view name, size_t expected) {
        if (expected < columns_.size() && columns_[expected].name == name) [[likely]] {
            return expected;
        }
        return FindOrAppendColumn(name);
    }

    // How a message shows the column up to its value, {"name":"id","value": for one called id. ""
    // if there is no column at that position, or its name needs escapes.
    std::string_view
    ColumnText(size_t position) const {
        return position < texts_.size() ? std::string_view(texts_[position]) : std::string_view();
    }

    // Makes the columns that an "identity" has the key. Changes nothing and returns false if it has
    // none.
    bool SetKey(const Tuple &identity);

    // The description as of now; another object only if it has changed since the last call, and
    // only then is `has_identity_full` (which may be empty) called.
    const std::shared_ptr<const RemoteRelation> &
    Describe(const std::function<bool(std::string_view, std::string_view)> &has_identity_full) {
        if (changed_) [[unlikely]] {
            DescribeAnew(has_identity_full);
        }
        return relation_;
    }

    bool
    IsNamed(std::string_view schema, std::string_view name) const {
        return name_ == name && schema_ == schema;
    }
    size_t
    column_count() const {
        return columns_.size();
    }

  private:
    size_t FindOrAppendColumn(std::string_view name);
    void
    DescribeAnew(const std::function<bool(std::string_view, std::string_view)> &has_identity_full);

    std::string schema_;
    std::string name_;
    std::vector<RemoteColumn> columns_;
    std::vector<std::string> texts_; // ColumnText of each
    std::unordered_map<std::string, size_t, TextHash, std::equal_to<>> positions_;
    bool changed_ = true; // since relation_ was made
    std::shared_ptr<const RemoteRelation> relation_;
};

// All tables met so far.
class Wal2jsonRelations {
  public:
    // The table of that name, made if it has not been met. Valid as long as this object.
    Wal2jsonTable &
    Find(std::string_view schema, std::string_view name) {
        // Consecutive rows mostly belong to one table.
        if (last_ == nullptr || !last_->IsNamed(schema, name)) {
            last_ = &FindOrMake(schema, name);
        }
        return *last_;
    }

  private:
    struct NameView {
        std::string_view schema;
        std::string_view name;
    };
    struct Name {
        std::string schema;
        std::string name;
        operator NameView() const { return {schema, name}; }
    };
    struct NameHash {
        using is_transparent = void;
        size_t
        operator()(const NameView &view) const {
            const TextHash hash;
            return hash(view.schema) * 31 + hash(view.name);
        }
    };
    struct NameEqual {
        using is_transparent = void;
        bool
        operator()(const NameView &a, const NameView &b) const {
            return a.name == b.name && a.schema == b.schema;
        }
    };

    Wal2jsonTable &FindOrMake(std::string_view schema, std::string_view name);

    std::unordered_map<Name, Wal2jsonTable, NameHash, NameEqual> tables_;
    Wal2jsonTable *last_ = nullptr;
};

} // namespace livemigrate
