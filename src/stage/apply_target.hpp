// Where apply's source transactions go: gathered in a batch, written, and committed on the target
// with the origin that says how far it is.
#pragma once

#include "core/change_batch.hpp"
#include "core/flush_positions.hpp"
#include "core/lsn.hpp"
#include "core/spool_format.hpp"
#include "stage/apply.hpp"
#include "stage/apply_failure.hpp"
#include "stage/apply_writer.hpp"
#include "stage/target_transaction.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace livemigrate::stage {

// Errors: what the writer throws for a change that cannot be applied, which `failure` then names;
// 40001 when an endpos was set before what is about to be committed. Everything before such a
// transaction is committed all the same. After an Error of a call that commits, the object must be
// given up.
class ApplyTarget {
  public:
    // A source transaction that is read to its end and not committed on the target.
    struct Complete {
        Lsn begin_lsn; // its commit_lsn, as Begin tells it
        Lsn end_lsn;
        int64_t commit_time = 0;
        SpoolPosition position;
        uint64_t changes = 0;
        uint64_t passed_over = 0;
        bool skipped = false;
    };

    // All references must outlive this object.
    ApplyTarget(const ApplySettings &settings, ApplyObserver &observer, ApplyFailure &failure);

    // Takes the session's origin. Returns behind what apply begins: the origin's progress on disk.
    Lsn SetUpOrigin();

    // Takes the changes of the open source transaction.
    ChangeBatch &
    batch() {
        return batch_;
    }
    // Throws `error` as one of the change, a row of the open source transaction, with everything
    // before that committed.
    [[noreturn]] void Refuse(const Change &change, const Error &error);
    // The open source transaction ends. It is committed with others, or now: if `at_once`, or if
    // the batch is full, or if it has been written in part.
    void End(const Complete &transaction, bool at_once);
    // Writes what there is of complete source transactions and commits it. If one of them fails,
    // those before it are applied all the same: apply stops where it begins.
    void CommitComplete();

    // Writes what there is of the open source transaction, in a target transaction that takes no
    // other: so it can be given up alone. REQUIRES: nothing complete waits to be committed.
    void WriteOpen();
    // The same, but takes back all of it and returns false if that fails, or if triggers fire:
    // what they say at the source transaction's end is for where that is known.
    bool TryWriteOpen();
    // Whether the open source transaction has been written in part.
    bool
    holds_open() const {
        return target_.has_value();
    }
    // Forgets the open source transaction.
    void DropOpen();

    // Whether the origin must be moved although there is nothing to write: that may be so for long,
    // and the spool is kept for it.
    bool OriginIsOld() const;
    // REQUIRES: nothing waits to be committed.
    void AdvanceOrigin();

    // Tells what is on disk by now.
    void ReportFlushed();
    // Waits until all that is committed is on disk, and tells so.
    void FlushToDisk();
    bool
    waits_for_disk() const {
        return positions_.size() > 0;
    }

  private:
    struct Entry : Complete {
        size_t items; // of batch_, up to its end
    };

    void CommitFirst(size_t count);
    XLogRecPtr Commit(const Complete &last);
    void OpenTarget();

    const ApplySettings &settings_;
    ApplyObserver &observer_;
    ApplyFailure &failure_;
    ChangeBatch batch_;
    ApplyWriter writer_;
    uint64_t in_source_order_ = 0; // changes so written since the last commit
    // Open from one call to the next only with a part of the open source transaction in it.
    std::optional<TargetTransaction> target_;
    std::vector<Entry> complete_;
    Complete passed_; // the last one that is done with, whether there was anything to write or not
    Lsn origin_lsn_;  // the origin's progress
    std::chrono::steady_clock::time_point origin_set_at_;
    FlushPositions positions_;
    uint64_t pruned_segment_ = 0;
};

} // namespace livemigrate::stage
