// The target transaction that takes source transactions.
#pragma once

#include "pg/prelude.hpp"

#include "core/lsn.hpp"
#include "pg/guard.hpp"
#include "pg/spi.hpp"
#include "pg/table_manager.hpp"
#include "pg/transaction.hpp"

#include <string>

namespace livemigrate::stage {

class TargetTransaction {
  public:
    // `join_nodes`: pg::JoinNodesSql().
    explicit TargetTransaction(const std::string &join_nodes) {
        pg::Call([] { SPI_connect(); });
        if (!join_nodes.empty()) {
            pg::Execute(join_nodes);
            pg::FlushCommitBeforeNodes();
        }
    }

    // Commits with the origin at `end_lsn`; returns the local commit's end.
    XLogRecPtr
    Commit(Lsn end_lsn, int64_t commit_time) {
        pg::Call([&] {
            SPI_finish();
            GetCurrentTransactionId(); // the origin moves with a commit record only
        });
        const OriginPosition position(end_lsn, commit_time);
        transaction_.Commit();
        return XactLastCommitEnd;
    }

  private:
    // Where a commit of the session takes its origin. Any other, and one that comes after this has
    // failed, leaves the origin where it is.
    struct OriginPosition {
        OriginPosition(Lsn end_lsn, int64_t commit_time) {
            replorigin_session_origin_lsn = end_lsn.value;
            replorigin_session_origin_timestamp = commit_time;
        }
        ~OriginPosition() {
            replorigin_session_origin_lsn = InvalidXLogRecPtr;
            replorigin_session_origin_timestamp = 0;
        }
        OriginPosition(const OriginPosition &) = delete;
        OriginPosition &operator=(const OriginPosition &) = delete;
    };

    pg::Transaction transaction_; // aborts, SPI included, unless committed
};

} // namespace livemigrate::stage
