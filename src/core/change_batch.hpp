// Decoded changes kept until they are written: complete source transactions, and behind them the
// part of an open one that has been read so far.
//
// The decoder's values live until its next call only, so they are copied here. Each is followed by
// a NUL byte that its size does not count, as the input functions of types want it.
#pragma once

#include "core/change.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <memory_resource>
#include <span>
#include <unordered_map>
#include <vector>

namespace livemigrate {

class ChangeBatch {
  public:
    struct Transaction {
        uint32_t xid = 0;
        Lsn commit_lsn;
    };
    // Tables of one TRUNCATE: they may reference one another, so they are truncated together.
    struct Truncation {
        std::vector<std::shared_ptr<const RemoteRelation>> relations;
        bool restart_identity = false;
    };
    struct Item {
        RowChange row;           // of kind kTruncate: nothing but the kind
        uint32_t truncation = 0; // of kind kTruncate: index for truncation()
        Transaction transaction; // that it belongs to
    };

    // full() from that many items or bytes on. A batch takes one change, whatever its size.
    ChangeBatch(size_t max_items, size_t max_bytes);
    ~ChangeBatch();
    ChangeBatch(const ChangeBatch &) = delete;
    ChangeBatch &operator=(const ChangeBatch &) = delete;

    void BeginTransaction(Transaction transaction);
    void EndTransaction();
    // Forgets what was added since BeginTransaction() or, if it came later, Clear().
    void DropOpenTransaction();

    void Add(const Change &change); // kInsert, kUpdate, kDelete
    // Joins the truncation before it if nothing else came between: wal2json sends one message for
    // each table of a TRUNCATE.
    void AddTruncate(std::shared_ptr<const RemoteRelation> relation, bool restart_identity);

    // In source order. Valid until the batch is changed.
    std::span<const Item>
    complete() const {
        return std::span(items_).first(complete_);
    }
    std::span<const Item>
    items() const {
        return items_;
    }
    const Truncation &
    truncation(const Item &item) const {
        return truncations_[item.truncation];
    }

    const std::shared_ptr<const RemoteRelation> &
    relation(const Item &item) const {
        return relations_.at(item.row.relation);
    }

    bool
    full() const {
        return items_.size() >= max_items_ || bytes_ >= max_bytes_;
    }

    void EraseComplete(); // complete transactions have been written
    void Clear();         // everything has been written

  private:
    void Keep(const std::shared_ptr<const RemoteRelation> &relation);
    TupleView Copy(const Tuple &tuple);

    const size_t max_items_;
    const size_t max_bytes_;
    std::unique_ptr<std::byte[]> first_block_; // so that small batches never allocate
    std::pmr::monotonic_buffer_resource memory_;
    std::vector<Item> items_;
    std::vector<Truncation> truncations_;
    // That items point to.
    std::unordered_map<const RemoteRelation *, std::shared_ptr<const RemoteRelation>> relations_;
    const RemoteRelation *last_relation_ = nullptr;
    size_t complete_ = 0; // items of complete transactions
    size_t bytes_ = 0;
    Transaction transaction_;
};

} // namespace livemigrate
