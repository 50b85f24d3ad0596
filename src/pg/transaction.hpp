// A transaction of a background worker.
#pragma once

#include "pg/prelude.hpp"

#include <optional>

extern "C" {
#include "access/xact.h"
}

namespace livemigrate::pg {

// Starts a transaction; the destructor aborts it unless Commit() was called. Allocations made
// inside live in the transaction's memory context. REQUIRES: no transaction is open.
class Transaction {
  public:
    Transaction();
    ~Transaction();
    Transaction(const Transaction &) = delete;
    Transaction &operator=(const Transaction &) = delete;

    // Commits and reports statistics, so that other sessions see this worker's activity.
    void Commit();

  private:
    bool open_ = true;
};

// The transaction that is open, or else one of its own.
class OpenOrOwnTransaction {
  public:
    OpenOrOwnTransaction() {
        if (!IsTransactionState()) {
            own_.emplace();
        }
    }

    // Nothing where it is not its own.
    void
    Commit() {
        if (own_) {
            own_->Commit();
        }
    }

  private:
    std::optional<Transaction> own_;
};

// Gives the transaction an active snapshot, for code that runs outside SPI and the executor.
class ActiveSnapshot {
  public:
    ActiveSnapshot();
    ~ActiveSnapshot();
    ActiveSnapshot(const ActiveSnapshot &) = delete;
    ActiveSnapshot &operator=(const ActiveSnapshot &) = delete;

  private:
    int uncaught_;
};

} // namespace livemigrate::pg
