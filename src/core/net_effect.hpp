// What a series of changes to one table comes to, row by row: rows to delete, then rows to update,
// then rows to insert, each key at most once in a list. An insert that is updated is one insert, a
// row updated a thousand times one update, a row inserted and deleted nothing.
//
// Rows are told apart by the text of their replica identity's columns. That is exact: whatever
// changes this text, be it 1.0 to 1.00, the source reports as a change of the key.
#pragma once

#include "core/change.hpp"

#include <cstdint>
#include <memory_resource>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace livemigrate {

class NetEffect {
  public:
    struct Row {
        TupleView key;    // its key columns find the row; empty for an insert
        TupleView values; // empty for a delete; kUnchanged and kAbsent: as it is on the target
    };

    // Values point into the changes given to Add(), or into `memory`, which must outlive the
    // object.
    NetEffect(const RemoteRelation &relation, std::pmr::memory_resource *memory);

    // False if the changes cannot be reduced and must be applied in source order: the object is
    // then of no use any more. They name rows by more than a key (identity FULL), a key changes
    // while an unchanged value is not sent, or they contradict each other.
    bool Add(const RowChange &change);

    // Calls `row(const Row &)` for each, in the order in which their keys came up first.
    template <typename Action>
    void
    ForEachDelete(Action &&row) const {
        for (const Entry &entry : entries_) {
            if (entry.deleted) {
                row(Row{entry.key, {}});
            }
        }
    }
    template <typename Action>
    void
    ForEachUpdate(Action &&row) const {
        for (const Entry &entry : entries_) {
            if (entry.result == Result::kUpdated) {
                row(Row{entry.key, entry.values});
            }
        }
    }
    template <typename Action>
    void
    ForEachInsert(Action &&row) const {
        for (const Entry &entry : entries_) {
            if (entry.result == Result::kInserted) {
                row(Row{{}, entry.values});
            }
        }
    }
    bool
    only_inserts() const {
        return only_inserts_;
    }

  private:
    enum class Result : uint8_t { kNothing, kUpdated, kInserted };
    struct Entry {
        TupleView key;
        TupleView values;
        bool deleted = false; // the row that was there at first
        Result result = Result::kNothing;
        bool touched = false; // by any change so far
    };

    Entry *Find(TupleView key);
    std::string_view KeyText(TupleView key);
    bool Insert(Entry &entry, TupleView values);
    bool Update(Entry &entry, TupleView values);
    static bool Delete(Entry &entry);
    TupleView Merge(TupleView before, TupleView after);

    std::pmr::memory_resource *memory_;
    std::vector<uint16_t> key_columns_;
    std::pmr::vector<Entry> entries_;
    std::pmr::unordered_map<std::string_view, uint32_t> by_key_; // into entries_
    bool only_inserts_ = true;
};

} // namespace livemigrate
