#include "pg/prelude.hpp"

#include "stage/apply.hpp"

#include "core/error.hpp"
#include "core/flush_positions.hpp"
#include "core/spool_directory.hpp"
#include "core/spool_reader.hpp"
#include "core/transaction_reader.hpp"
#include "core/wal2json_decoder.hpp"
#include "pg/guard.hpp"
#include "pg/transaction.hpp"
#include "pg/wait.hpp"
#include "stage/apply_selection.hpp"
#include "stage/apply_writer.hpp"
#include "stage/target_transaction.hpp"
#include "stage/transcoding_decoder.hpp"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>

namespace livemigrate::stage {

namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;
using Step = TransactionReader::Step;

// A batch under backlog. The larger, the fewer commits and the more changes to the same rows become
// one; the smaller, the less is read again after an interruption, and the better it fits the cache.
constexpr size_t kBatchChanges = 20'000;
constexpr size_t kBatchBytes = 32 << 20;

constexpr milliseconds kOriginInterval{1000};

void
ServeInterrupts() {
    pg::CheckInterrupts();
}

class Applier {
  public:
    Applier(const ApplySettings &settings, ApplyObserver &observer, ApplyFailure &failure)
        : settings_(settings), observer_(observer), failure_(failure),
          reader_(settings.spool_directory, settings.spool_identity),
          selection_(settings.tables, settings.filter),
          shares_(settings.workers, settings.dealings), decoder_(MakeStream()),
          batch_(kBatchChanges, kBatchBytes), writer_(FormatOf(settings), failure) {}

    void
    Run() {
        const Lsn progress = SetUpOrigin();
        const Lsn start_after = std::max(settings_.start_after, progress);
        origin_lsn_ = start_after;
        origin_set_at_ = Clock::now();
        passed_.end_lsn = start_after;
        observer_.Committed(start_after, 0, {});
        observer_.Flushed(start_after, 0);
        TransactionReader transactions(reader_, *decoder_, start_after, ServeInterrupts);
        observer_.Doing(Activity());
        while (!Advance(transactions)) {
        }
        AdvanceOrigin();
        FlushToDisk();
    }

  private:
    // A source transaction that is read to its end and not committed on the target.
    struct Complete {
        Lsn begin_lsn; // its commit_lsn, as Begin tells it
        Lsn end_lsn;
        int64_t commit_time = 0;
        SpoolPosition position;
        size_t items = 0; // of batch_, up to its end
        uint64_t changes = 0;
        uint64_t passed_over = 0;
        bool skipped = false;
    };

    static ValueFormat
    FormatOf(const ApplySettings &settings) {
        // pgoutput converts to our client_encoding; wal2json is brought to UTF-8 before decoding.
        return {settings.plugin,
                settings.plugin == Plugin::kPgoutput ? GetDatabaseEncoding() : PG_UTF8};
    }

    std::unique_ptr<ChangeDecoder>
    MakeStream() {
        if (settings_.plugin == Plugin::kPgoutput) {
            return MakeDecoder(Plugin::kPgoutput);
        }
        auto decoder = std::make_unique<Wal2jsonDecoder>(
            [this](std::string_view schema, std::string_view name) {
                return selection_.HasIdentityFull(schema, name);
            });
        const int encoding = EncodingOf(settings_.source_encoding);
        if (encoding == PG_UTF8) {
            return decoder;
        }
        return std::make_unique<TranscodingDecoder>(std::move(decoder), encoding);
    }

    bool
    is_parallel() const {
        return settings_.workers > 1;
    }
    bool
    is_first() const {
        return settings_.worker == 0;
    }

    std::string
    Activity() const {
        return is_parallel() ? "applying, worker " + std::to_string(settings_.worker + 1) + " of " +
                                   std::to_string(settings_.workers)
                             : "applying";
    }

    Lsn
    SetUpOrigin() {
        pg::Transaction transaction;
        const XLogRecPtr progress = pg::Call([&] {
            const RepOriginId origin = replorigin_by_name(settings_.origin.c_str(), false);
            pg::ReplicationOriginSetup(origin);
            replorigin_session_origin = origin;
            // Flushed: it is told to the source and to the spool as such.
            return replorigin_session_get_progress(true);
        });
        transaction.Commit();
        return Lsn{progress};
    }

    // One step through the stream. True when endpos is reached.
    bool
    Advance(TransactionReader &transactions) {
        const ApplyObserver::Limit limit = observer_.ReadLimit();
        Lsn endpos = observer_.Endpos();
        for (int i = 0; i < 1000; i++) {
            switch (transactions.Next(limit.written, change_)) {
            case Step::kNothing:
                return Idle(limit, endpos);
            case Step::kBegin:
                if (WaitWhileHeld()) {
                    endpos = observer_.Endpos();
                }
                if (BeyondEndpos(change_.commit_lsn, endpos) || !Begin()) {
                    DropOpenTransaction();
                    CommitComplete();
                    return true;
                }
                break;
            case Step::kChange:
                Take(transactions);
                break;
            case Step::kCommit:
                if (!IncludedByEndpos(change_.end_lsn, endpos) || !MayEnd()) {
                    // endpos lies inside the commit record, or was set when this had begun.
                    DropOpenTransaction();
                    CommitComplete();
                    return true;
                }
                End(transactions);
                break;
            case Step::kReset:
                // The connection was lost in the middle of it: it comes again from its beginning.
                DropOpenTransaction();
                break;
            }
        }
        return false;
    }

    bool
    IsHeld() {
        const Lsn hold = observer_.HoldAt();
        return hold.valid() && change_.commit_lsn >= hold;
    }

    // A while of waiting before a transaction, with everything before it committed.
    void
    Pause() {
        if (const Lsn hold = observer_.HoldAt(); hold.valid() && change_.commit_lsn >= hold) {
            observer_.Held(hold);
        }
        observer_.ReadLimit(); // leaves when the coordinator is gone
        ReportFlushed();
        pg::Wait({.timeout = milliseconds(200)});
    }

    // Waits while a session holds apply at or before the transaction that is about to begin.
    // Returns whether it did.
    bool
    WaitWhileHeld() {
        if (!IsHeld()) {
            return false;
        }
        CommitComplete();
        observer_.Doing("held by a session");
        while (IsHeld()) {
            Pause();
        }
        observer_.Doing(Activity());
        return true;
    }

    // False if an endpos before the transaction was set while others were waited for.
    bool
    Begin() {
        in_transaction_ = true;
        xid_ = change_.xid;
        begin_commit_lsn_ = change_.commit_lsn;
        skipping_ = settings_.skipped.contains(begin_commit_lsn_);
        batch_.BeginTransaction({xid_, begin_commit_lsn_});
        barrier_ = is_first() && change_.commit_lsn == barrier_lsn_;
        if (!barrier_) {
            return true;
        }
        while (IsHeld() || !observer_.OthersHaveArrivedAt(begin_commit_lsn_)) {
            if (BeyondEndpos(begin_commit_lsn_, observer_.Endpos())) {
                return false;
            }
            Pause();
        }
        return true;
    }

    // The open transaction turns out to be a barrier. What has been kept of it is forgotten: the
    // first worker reads it again, and applies all of it.
    void
    MeetBarrier(TransactionReader &transactions) {
        DropOpenTransaction();
        CommitComplete();
        observer_.ArrivedAt(begin_commit_lsn_);
        if (is_first()) {
            barrier_lsn_ = begin_commit_lsn_;
            transactions.Rewind();
        } else {
            in_transaction_ = true;
            barrier_ = true;
        }
    }

    // At the end of a barrier the others wait until the first worker has applied it. False if an
    // endpos before it was set meanwhile.
    bool
    MayEnd() {
        if (!barrier_ || is_first()) {
            return true;
        }
        while (!observer_.FirstHasPassed(change_.end_lsn)) {
            if (!IncludedByEndpos(change_.end_lsn, observer_.Endpos())) {
                return false;
            }
            Pause();
        }
        return true;
    }

    void
    End(const TransactionReader &transactions) {
        in_transaction_ = false;
        batch_.EndTransaction();
        complete_.push_back({.begin_lsn = begin_commit_lsn_,
                             .end_lsn = change_.end_lsn,
                             .commit_time = change_.commit_time,
                             .position = transactions.position(),
                             .items = batch_.complete().size(),
                             .changes = std::exchange(open_changes_, 0),
                             .passed_over = std::exchange(open_passed_over_, 0),
                             .skipped = std::exchange(skipping_, false)});
        // One that was written piece by piece shares its target transaction with no other; for a
        // barrier, others wait.
        const bool barrier = std::exchange(barrier_, false);
        if (batch_.full() || target_ || barrier || complete_.size() >= kBatchChanges) {
            CommitComplete();
        }
        if (barrier && is_first()) {
            observer_.WakeOthers();
        }
    }

    void
    DropOpenTransaction() {
        batch_.DropOpenTransaction();
        target_.reset(); // it has nothing else, see WriteOpen()
        open_changes_ = 0;
        open_passed_over_ = 0;
        skipping_ = false;
        barrier_ = false;
        in_transaction_ = false;
    }

    // Nothing more to read at the moment.
    bool
    Idle(const ApplyObserver::Limit &limit, Lsn endpos) {
        CommitComplete();
        if (!in_transaction_) {
            observer_.Drained(limit.received);
            if (const Lsn hold = observer_.HoldAt(); hold.valid() && limit.received >= hold) {
                observer_.Held(hold);
            }
            if (endpos.valid() && limit.received >= endpos) {
                return true;
            }
        }
        if (!in_transaction_ && OriginIsOld()) {
            AdvanceOrigin();
        }
        ReportFlushed();
        if (observer_.ReadLimit().written == limit.written &&
            (in_transaction_ || observer_.ReadLimit().received == limit.received)) {
            const bool waiting_for_disk = positions_.size() > 0;
            pg::Wait({.timeout = waiting_for_disk ? milliseconds(50) : milliseconds(1000)});
        }
        return false;
    }

    void
    Take(TransactionReader &transactions) {
        owner_ = Owner();
        if (skipping_) {
            open_passed_over_ += IsOurs() ? 1 : 0;
            return;
        }
        if (barrier_ && !is_first()) {
            return;
        }
        if (IsBarrier()) {
            MeetBarrier(transactions);
            return;
        }
        if (change_.kind == ChangeKind::kTruncate) {
            for (const auto &relation : change_.truncated) {
                if (IsWanted(relation) && IsOurs()) {
                    batch_.AddTruncate(relation, change_.truncate_restart_identity);
                    open_changes_++;
                }
            }
        } else if (IsWanted(change_.relation) && IsOurs()) {
            batch_.Add(change_);
            open_changes_++;
        }
        if (batch_.full()) {
            CommitComplete();
        }
        if (batch_.full()) {
            WriteOpen();
        }
    }

    // Whether the change makes its transaction a barrier, and this has not been found out before.
    bool
    IsBarrier() {
        if (!is_parallel() || barrier_) {
            return false;
        }
        const auto applies = [this](const std::shared_ptr<const RemoteRelation> &relation) {
            return selection_.Of(relation, begin_commit_lsn_) == ApplySelection::Choice::kApply;
        };
        if (change_.kind == ChangeKind::kTruncate) {
            return std::any_of(change_.truncated.begin(), change_.truncated.end(),
                               [&](const auto &relation) {
                                   return shares_.TruncateIsBarrier(*relation) && applies(relation);
                               });
        }
        return !owner_ && applies(change_.relation);
    }

    // The worker that applies the change, if anybody does; nullopt: it makes a barrier.
    std::optional<uint32_t>
    Owner() {
        if (!is_parallel() || change_.kind == ChangeKind::kTruncate) {
            return 0;
        }
        return shares_.WorkerOf(change_);
    }
    bool
    IsOurs() const {
        return barrier_ || owner_.value_or(0) == settings_.worker;
    }

    // A transaction that does not fit a batch is written piece by piece, in a target transaction
    // that takes no other: so it can be given up alone.
    void
    WriteOpen() {
        OpenTarget();
        in_source_order_ += writer_.Write(batch_, batch_.items());
        batch_.Clear();
    }

    // Whether changes of the table are for the target. What the user left out is counted, by one
    // worker; a table that nobody knows of is an error.
    bool
    IsWanted(const std::shared_ptr<const RemoteRelation> &relation) {
        switch (selection_.Of(relation, begin_commit_lsn_)) {
        case ApplySelection::Choice::kApply:
            return true;
        case ApplySelection::Choice::kCopied:
            return false;
        case ApplySelection::Choice::kPassOver:
            open_passed_over_ += is_first() ? 1 : 0;
            return false;
        case ApplySelection::Choice::kUnknown:
            break;
        }
        if (is_first() && !selection_.AcceptUnknown(*relation, target_.has_value())) {
            CommitComplete();
            failure_.Set(*relation, "change", {xid_, begin_commit_lsn_});
            ApplySelection::ThrowUnknown(*relation, begin_commit_lsn_);
        }
        return is_first();
    }

    void
    OpenTarget() {
        if (!target_) {
            target_.emplace();
        }
    }

    // Writes what there is of complete source transactions and commits it. If one of them fails,
    // those before it are applied all the same: apply stops where it begins.
    void
    CommitComplete() {
        if (complete_.empty()) {
            return;
        }
        try {
            CommitFirst(complete_.size());
        } catch (const Error &) {
            const auto failed =
                std::find_if(complete_.begin(), complete_.end(), [this](const Complete &one) {
                    return failure_.set && one.begin_lsn == failure_.commit_lsn;
                });
            target_.reset();
            in_source_order_ = 0;
            if (failed == complete_.begin() || failed == complete_.end()) {
                throw;
            }
            const ApplyFailure failure = failure_;
            CommitFirst(static_cast<size_t>(failed - complete_.begin()));
            failure_ = failure;
            throw;
        }
        complete_.clear();
        batch_.EraseComplete();
    }

    void
    CommitFirst(size_t count) {
        const std::span<const Complete> these = std::span(complete_).first(count);
        const Complete &last = these.back();
        if (last.items > 0) {
            OpenTarget();
            in_source_order_ += writer_.Write(batch_, batch_.complete().first(last.items));
        }
        ApplyCounts counts;
        counts.transactions = count;
        counts.in_source_order = std::exchange(in_source_order_, 0);
        for (const Complete &one : these) {
            counts.changes += one.changes;
            counts.skipped += one.passed_over;
            if (one.skipped && (is_first() || one.passed_over > 0)) {
                OpenTarget();
                observer_.Skipped(one.begin_lsn, one.passed_over);
            }
        }
        XLogRecPtr local = 0;
        passed_ = last;
        if (!target_ && OriginIsOld() && observer_.Announce(last.end_lsn)) {
            OpenTarget();
        }
        if (target_) {
            if (!observer_.Announce(last.end_lsn)) {
                throw Error(sqlstate::kSerializationFailure,
                            "endpos was set before transactions that were being applied")
                    .Detail("Apply begins again behind the last transaction applied.");
            }
            local = CommitTarget(last);
        }
        // Of several workers each tells only of what its origin tells, too: otherwise a crash that
        // takes the spool's tail could leave the source beyond where a worker begins again.
        if (local != 0 || !is_parallel()) {
            positions_.Add(local, last.end_lsn, last.position);
        }
        observer_.Committed(last.end_lsn, last.commit_time, counts);
        ReportFlushed();
    }

    XLogRecPtr
    CommitTarget(const Complete &last) {
        const XLogRecPtr local = target_->Commit(last.end_lsn, last.commit_time, is_parallel());
        target_.reset();
        origin_lsn_ = last.end_lsn;
        origin_set_at_ = Clock::now();
        return local;
    }

    // Whether the origin must be moved although there is nothing to write: a worker may have no
    // share in anything for long, and the spool is kept for it.
    bool
    OriginIsOld() const {
        return is_parallel() && passed_.end_lsn > origin_lsn_ &&
               Clock::now() - origin_set_at_ > kOriginInterval;
    }

    // REQUIRES: nothing waits to be committed.
    void
    AdvanceOrigin() {
        if (!is_parallel() || passed_.end_lsn <= origin_lsn_ ||
            !observer_.Announce(passed_.end_lsn)) {
            return;
        }
        OpenTarget();
        positions_.Add(CommitTarget(passed_), passed_.end_lsn, passed_.position);
    }

    void
    ReportFlushed() {
        const XLogRecPtr local = pg::LocalFlushPosition();
        if (const std::optional<FlushPosition> flushed = positions_.FlushedUpTo(local)) {
            observer_.Flushed(flushed->remote_end_lsn, flushed->spool_position.segment);
        }
        const uint64_t keep_from = observer_.BeginPruning();
        if (keep_from > pruned_segment_) {
            PruneSpool(settings_.spool_directory, {keep_from, 0});
            pruned_segment_ = keep_from;
        }
        observer_.EndPruning();
    }

    void
    FlushToDisk() {
        pg::Call([] { XLogFlush(XactLastCommitEnd); });
        ReportFlushed();
    }

    const ApplySettings &settings_;
    ApplyObserver &observer_;
    ApplyFailure &failure_;
    SpoolReader reader_;
    ApplySelection selection_;
    ApplyShares shares_;
    std::unique_ptr<ChangeDecoder> decoder_;
    FlushPositions positions_;
    uint64_t pruned_segment_ = 0;

    Change change_;
    ChangeBatch batch_;
    ApplyWriter writer_;
    uint64_t in_source_order_ = 0; // changes so written since the last commit
    // Open from one step to the next only with a part of the open source transaction in it.
    std::optional<TargetTransaction> target_;

    bool in_transaction_ = false;
    uint32_t xid_ = 0;
    Lsn begin_commit_lsn_;
    uint64_t open_changes_ = 0;
    uint64_t open_passed_over_ = 0;
    bool skipping_ = false;         // the user wants the open transaction passed over
    std::optional<uint32_t> owner_; // of change_
    bool barrier_ = false;          // the open transaction is one
    Lsn barrier_lsn_; // commit_lsn of the one that the first worker found and reads again

    std::vector<Complete> complete_;
    Complete passed_; // the last one that is done with, whether there was anything to write or not
    Lsn origin_lsn_;  // the origin's progress
    Clock::time_point origin_set_at_;
};

} // namespace

void
Apply(const ApplySettings &settings, ApplyObserver &observer, ApplyFailure &failure) {
    Applier applier(settings, observer, failure);
    applier.Run();
}

} // namespace livemigrate::stage
