#include "pg/prelude.hpp"

#include "stage/apply.hpp"

#include "core/error.hpp"
#include "core/spool_reader.hpp"
#include "core/sql_text.hpp"
#include "core/transaction_reader.hpp"
#include "core/wal2json_decoder.hpp"
#include "pg/guard.hpp"
#include "pg/transaction.hpp"
#include "pg/wait.hpp"
#include "stage/apply_selection.hpp"
#include "stage/apply_target.hpp"
#include "stage/followed_columns.hpp"
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

// Without anything new of a transaction that is applied early.
constexpr milliseconds kLongestEarlyPause{10'000};

void
ServeInterrupts() {
    pg::CheckInterrupts();
}

class Applier {
  public:
    Applier(const ApplySettings &settings, ApplyObserver &observer, ApplyFailure &failure)
        : settings_(settings), observer_(observer), failure_(failure),
          reader_(settings.spool_directory, settings.spool_identity),
          selection_(settings.tables, settings.columns, settings.filter),
          shares_(settings.workers, settings.dealings), decoder_(MakeStream()),
          target_(settings, observer, failure) {}

    void
    Run() {
        const Lsn start_after = target_.SetUpOrigin();
        TransactionReader transactions(reader_, *decoder_, start_after, ServeInterrupts);
        observer_.Doing(Activity());
        while (!Advance(transactions)) {
        }
        target_.AdvanceOrigin();
        target_.FlushToDisk();
    }

  private:
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

    // One step through the stream. True when endpos is reached.
    bool
    Advance(TransactionReader &transactions) {
        const ApplyObserver::Limit limit = observer_.ReadLimit();
        Lsn endpos = observer_.Endpos();
        const bool may_begin_early = MayBeginEarly();
        transactions.AllowEarly(may_begin_early);
        if (early_ && !may_begin_early) {
            GiveUpEarly(transactions);
        }
        for (int i = 0; i < 1000; i++) {
            switch (transactions.Next(limit.written, change_)) {
            case Step::kNothing:
                return Idle(transactions, limit, endpos);
            case Step::kBeginEarly:
                BeginEarly();
                break;
            case Step::kCommitEarly:
                CommitEarly(transactions);
                break;
            case Step::kBegin:
                if (WaitWhileHeld()) {
                    endpos = observer_.Endpos();
                }
                if (BeyondEndpos(change_.commit_lsn, endpos) || !Begin()) {
                    DropOpenTransaction();
                    target_.CommitComplete();
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
                    target_.CommitComplete();
                    return true;
                }
                End(transactions);
                break;
            case Step::kReset:
                // The connection was lost in the middle of it: it comes again from its beginning.
                // Or it was begun early, and something else comes first.
                DropOpenTransaction();
                break;
            }
        }
        return false;
    }

    // A streamed transaction is written while the source sends it, in the hope that it commits
    // before anything else does. What may stand in the way of its commit comes first.
    bool
    MayBeginEarly() {
        return !is_parallel() && settings_.skipped.empty() && !observer_.HoldAt().valid();
    }

    void
    BeginEarly() {
        in_transaction_ = true;
        early_ = true;
        early_goes_on_ = true;
        xid_ = change_.xid;
        begin_commit_lsn_ = change_.commit_lsn;
        target_.batch().BeginTransaction({xid_, begin_commit_lsn_});
    }

    void
    GiveUpEarly(TransactionReader &transactions) {
        DropOpenTransaction();
        transactions.DropEarly();
    }

    // What was not written yet, or must not be committed now, comes again with its commit.
    void
    CommitEarly(TransactionReader &transactions) {
        target_.CommitComplete();
        if (!target_.holds_open() || !target_.TryWriteOpen() || !MayBeginEarly() ||
            !IncludedByEndpos(change_.end_lsn, observer_.Endpos())) {
            GiveUpEarly(transactions);
            return;
        }
        early_ = false;
        begin_commit_lsn_ = change_.commit_lsn;
        transactions.AcceptEarly();
        End(transactions);
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
        target_.ReportFlushed();
        pg::Wait({.timeout = milliseconds(200)});
    }

    // Waits while a session holds apply at or before the transaction that is about to begin.
    // Returns whether it did.
    bool
    WaitWhileHeld() {
        if (!IsHeld()) {
            return false;
        }
        target_.CommitComplete();
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
        target_.batch().BeginTransaction({xid_, begin_commit_lsn_});
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
        target_.CommitComplete();
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
        // For a barrier, others wait.
        const bool barrier = std::exchange(barrier_, false);
        target_.End({.begin_lsn = begin_commit_lsn_,
                     .end_lsn = change_.end_lsn,
                     .commit_time = change_.commit_time,
                     .position = transactions.position(),
                     .changes = std::exchange(open_changes_, 0),
                     .passed_over = std::exchange(open_passed_over_, 0),
                     .skipped = std::exchange(skipping_, false)},
                    barrier);
        if (barrier && is_first()) {
            observer_.WakeOthers();
        }
    }

    void
    DropOpenTransaction() {
        target_.DropOpen();
        open_changes_ = 0;
        open_passed_over_ = 0;
        skipping_ = false;
        barrier_ = false;
        early_ = false;
        in_transaction_ = false;
    }

    // Nothing more to read at the moment.
    bool
    Idle(TransactionReader &transactions, const ApplyObserver::Limit &limit, Lsn endpos) {
        target_.CommitComplete();
        // Its locks may be in somebody's way, and the source may be waiting for its user.
        if (std::exchange(early_goes_on_, false)) {
            early_read_at_ = Clock::now();
        } else if (early_ && Clock::now() - early_read_at_ > kLongestEarlyPause) {
            GiveUpEarly(transactions);
        }
        if (!in_transaction_ || early_) {
            observer_.Drained(limit.received);
            if (const Lsn hold = observer_.HoldAt(); hold.valid() && limit.received >= hold) {
                observer_.Held(hold);
            }
            if (endpos.valid() && limit.received >= endpos) {
                DropOpenTransaction();
                return true;
            }
        }
        // Also inside a transaction of which nothing is written yet: the spool's limit may keep the
        // rest of it waiting for what is behind the origin to be removed.
        if (!target_.holds_open() && target_.OriginIsOld()) {
            target_.AdvanceOrigin();
        }
        target_.ReportFlushed();
        if (observer_.ReadLimit().written == limit.written &&
            (in_transaction_ || observer_.ReadLimit().received == limit.received)) {
            const bool waiting_for_disk = target_.waits_for_disk();
            pg::Wait({.timeout = waiting_for_disk ? milliseconds(50) : milliseconds(1000)});
        }
        return false;
    }

    void
    Take(TransactionReader &transactions) {
        early_goes_on_ = early_;
        if (early_ && !MayApplyEarly()) {
            GiveUpEarly(transactions);
            return;
        }
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
                    target_.batch().AddTruncate(relation, change_.truncate_restart_identity);
                    open_changes_++;
                }
            }
            // wal2json sends a message for each table of the statement: what is full waits for the
            // next change.
            return;
        }
        if (IsWanted(change_.relation) && IsOurs()) {
            if (const Error *problem = decoder_->problem()) {
                target_.Refuse(change_, *problem);
            }
            target_.batch().Add(change_);
            open_changes_++;
        }
        if (!target_.batch().full()) {
            return;
        }
        target_.CommitComplete();
        if (target_.batch().full()) {
            WriteFull(transactions);
        }
    }

    // What the source may take back with the transaction can be in the way of an early one: no
    // error before it commits.
    void
    WriteFull(TransactionReader &transactions) {
        if (!early_) {
            target_.WriteOpen();
        } else if (!target_.TryWriteOpen()) {
            GiveUpEarly(transactions);
        }
    }

    // Whether the change is applied whatever its transaction's commit turns out to be.
    bool
    MayApplyEarly() {
        const auto is_decided = [this](const std::shared_ptr<const RemoteRelation> &relation) {
            const ApplySelection::Choice choice = selection_.Of(relation, begin_commit_lsn_);
            return choice == ApplySelection::Choice::kApply ||
                   choice == ApplySelection::Choice::kPassOver;
        };
        // The source is asked about partitions: the transaction holds locks there, and what it
        // makes of them is not to be seen yet.
        const auto may = [&](const std::shared_ptr<const RemoteRelation> &relation) {
            return is_decided(relation) && !selection_.GoesThroughRoot(*relation);
        };
        return change_.kind == ChangeKind::kTruncate
                   ? std::all_of(change_.truncated.begin(), change_.truncated.end(), may)
                   : may(change_.relation);
    }

    // Whether the change makes its transaction a barrier, and this has not been found out before.
    bool
    IsBarrier() {
        if (!is_parallel() || barrier_) {
            return false;
        }
        const auto applies = [this](const std::shared_ptr<const RemoteRelation> &relation) {
            const ApplySelection::Choice choice = selection_.Of(relation, begin_commit_lsn_);
            return choice == ApplySelection::Choice::kApply ||
                   choice == ApplySelection::Choice::kChanged;
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
        case ApplySelection::Choice::kChanged:
            CheckColumns(relation);
            return true;
        case ApplySelection::Choice::kReplaced:
            RefuseReplaced(*relation);
        case ApplySelection::Choice::kUnknown:
            break;
        }
        if (is_first() && !selection_.AcceptUnknown(*relation)) {
            target_.CommitComplete();
            failure_.Set(*relation, "change", {xid_, begin_commit_lsn_});
            ApplySelection::ThrowUnknown(*relation, begin_commit_lsn_);
        }
        return is_first();
    }

    // What there is to do about it, the caller says.
    [[noreturn]] void
    RefuseReplaced(const RemoteRelation &relation) {
        target_.CommitComplete();
        failure_.Set(relation, CommandName(change_.kind), {xid_, begin_commit_lsn_});
        failure_.replaced_table = selection_.TableOf(relation).id;
        throw failure_.Describe(Error(sqlstate::kObjectNotInPrerequisiteState,
                                      "table " + QualifiedName(relation.schema, relation.name) +
                                          " was replaced on the source"));
    }

    void
    CheckColumns(const std::shared_ptr<const RemoteRelation> &relation) {
        const std::vector<ColumnChange> changes = selection_.NotFollowed(relation);
        if (changes.empty()) {
            return;
        }
        target_.CommitComplete();
        failure_.Set(*relation, CommandName(change_.kind), {xid_, begin_commit_lsn_});
        failure_.columns = changes;
        const std::string table = QualifiedName(relation->schema, relation->name);
        pg::OpenOrOwnTransaction transaction;
        const std::vector<ColumnDefinition> definitions = DefinitionsOf(changes);
        transaction.Commit();
        throw failure_.Describe(
            ColumnsChanged(relation->schema, relation->name, changes,
                           StatementsToFollow(table, changes, {}, definitions)));
    }

    const ApplySettings &settings_;
    ApplyObserver &observer_;
    ApplyFailure &failure_;
    SpoolReader reader_;
    ApplySelection selection_;
    ApplyShares shares_;
    std::unique_ptr<ChangeDecoder> decoder_;
    ApplyTarget target_;

    Change change_;

    bool in_transaction_ = false;
    uint32_t xid_ = 0;
    Lsn begin_commit_lsn_;
    uint64_t open_changes_ = 0;
    uint64_t open_passed_over_ = 0;
    bool early_ = false;         // the open transaction has not ended on the source
    bool early_goes_on_ = false; // since it was last looked at, at early_read_at_
    Clock::time_point early_read_at_;
    bool skipping_ = false;         // the user wants the open transaction passed over
    std::optional<uint32_t> owner_; // of change_
    bool barrier_ = false;          // the open transaction is one
    Lsn barrier_lsn_; // commit_lsn of the one that the first worker found and reads again
};

} // namespace

void
Apply(const ApplySettings &settings, ApplyObserver &observer, ApplyFailure &failure) {
    Applier applier(settings, observer, failure);
    applier.Run();
}

} // namespace livemigrate::stage
