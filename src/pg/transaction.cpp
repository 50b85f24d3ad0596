#include "pg/transaction.hpp"

#include "pg/guard.hpp"

#include <exception>

namespace livemigrate::pg {

Transaction::Transaction() {
    Call([] {
        SetCurrentStatementStartTimestamp();
        StartTransactionCommand();
    });
}

Transaction::~Transaction() {
    if (!open_) {
        return;
    }
    try {
        Call([] { AbortCurrentTransaction(); });
    } catch (const std::exception &error) {
        // Abort does not raise in practice; if it does, the process is beyond repair.
        ereport(FATAL, (errcode(ERRCODE_INTERNAL_ERROR),
                        errmsg("could not abort transaction: %s", error.what())));
    }
}

void
Transaction::Commit() {
    Call([] {
        CommitTransactionCommand();
        pgstat_report_stat(false);
    });
    open_ = false;
}

ActiveSnapshot::ActiveSnapshot() : uncaught_(std::uncaught_exceptions()) {
    Call([] { PushActiveSnapshot(GetTransactionSnapshot()); });
}

ActiveSnapshot::~ActiveSnapshot() {
    // While an error unwinds, the transaction's abort pops it.
    if (std::uncaught_exceptions() == uncaught_) {
        PopActiveSnapshot();
    }
}

} // namespace livemigrate::pg
