#include "pg/prelude.hpp"

#include "stage/apply.hpp"

#include "core/error.hpp"
#include "core/flush_positions.hpp"
#include "core/spool_directory.hpp"
#include "core/spool_reader.hpp"
#include "core/sql_text.hpp"
#include "core/transaction_reader.hpp"
#include "core/wal2json_decoder.hpp"
#include "pg/guard.hpp"
#include "pg/spi.hpp"
#include "pg/transaction.hpp"
#include "pg/wait.hpp"
#include "stage/apply_writer.hpp"
#include "stage/transcoding_decoder.hpp"

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace livemigrate::stage {

namespace {

using std::chrono::milliseconds;
using Step = TransactionReader::Step;

// A batch under backlog. The larger, the fewer commits and the more changes to the same rows become
// one; the smaller, the less is read again after an interruption, and the better it fits the cache.
constexpr size_t kBatchChanges = 20'000;
constexpr size_t kBatchBytes = 32 << 20;

// "(id)=(5)", as the server's own messages show keys.
std::string
DescribeKey(const RowChange &row) {
    constexpr size_t kLongest = 200;
    const TupleView tuple = row.old_tuple.empty() ? row.new_tuple : row.old_tuple;
    std::string names;
    std::string values;
    for (size_t i = 0; i < tuple.size(); i++) {
        const ColumnValue &value = tuple[i];
        if (!row.relation->columns[i].is_key || value.kind == ValueKind::kAbsent) {
            continue;
        }
        names += (names.empty() ? "" : ", ") + row.relation->columns[i].name;
        values += values.empty() ? "" : ", ";
        values += value.kind == ValueKind::kNull ? "null" : std::string(value.data);
    }
    std::string key = names.empty() ? "" : "(" + names + ")=(" + values + ")";
    if (key.size() > kLongest) {
        const auto length =
            static_cast<size_t>(pg_mbcliplen(key.data(), static_cast<int>(key.size()), kLongest));
        key = key.substr(0, length) + "...";
    }
    return key;
}

void
ServeInterrupts() {
    pg::CheckInterrupts();
}

// The target transaction that takes source transactions.
class TargetTransaction {
  public:
    TargetTransaction() {
        pg::Call([] { SPI_connect(); });
    }

    // Commits with the origin at `end_lsn`; returns the local commit's end.
    XLogRecPtr
    Commit(Lsn end_lsn, int64_t commit_time) {
        pg::Call([&] {
            SPI_finish();
            replorigin_session_origin_lsn = end_lsn.value;
            replorigin_session_origin_timestamp = commit_time;
        });
        transaction_.Commit();
        return XactLastCommitEnd;
    }

  private:
    pg::Transaction transaction_; // aborts, SPI included, unless committed
};

class Applier {
  public:
    Applier(const ApplySettings &settings, ApplyObserver &observer, ApplyFailure &failure)
        : settings_(settings), observer_(observer), failure_(failure),
          reader_(settings.spool_directory, settings.spool_identity), decoder_(MakeStream()),
          batch_(kBatchChanges, kBatchBytes), writer_(FormatOf(settings), failure) {
        for (const CopyTable &table : settings.tables) {
            tables_[{table.schema, table.name}] = &table;
        }
    }

    void
    Run() {
        const Lsn progress = SetUpOrigin();
        const Lsn start_after = std::max(settings_.start_after, progress);
        observer_.Committed(start_after, 0, 0, 0, 0);
        observer_.Flushed(start_after);
        TransactionReader transactions(reader_, *decoder_, start_after, ServeInterrupts);
        observer_.Doing("applying");
        while (!Advance(transactions)) {
        }
        FlushToDisk();
    }

  private:
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
                const auto found = tables_.find({std::string(schema), std::string(name)});
                return found != tables_.end() && found->second->replica_identity == 'f';
            });
        const int encoding = EncodingOf(settings_.source_encoding);
        if (encoding == PG_UTF8) {
            return decoder;
        }
        return std::make_unique<TranscodingDecoder>(std::move(decoder), encoding);
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
                if (BeyondEndpos(change_.commit_lsn, endpos)) {
                    CommitComplete();
                    return true;
                }
                Begin();
                break;
            case Step::kChange:
                Take();
                break;
            case Step::kCommit:
                if (!IncludedByEndpos(change_.end_lsn, endpos)) {
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

    // Waits while a session holds apply at or before the transaction that is about to begin.
    // Returns whether it did.
    bool
    WaitWhileHeld() {
        const auto is_held = [this](Lsn hold) {
            return hold.valid() && change_.commit_lsn >= hold;
        };
        if (!is_held(observer_.HoldAt())) {
            return false;
        }
        CommitComplete();
        observer_.Doing("held for a comparison");
        for (Lsn hold = observer_.HoldAt(); is_held(hold); hold = observer_.HoldAt()) {
            observer_.Held(hold);
            observer_.ReadLimit(); // leaves when the coordinator is gone
            ReportFlushed();
            pg::Wait({.timeout = milliseconds(200)});
        }
        observer_.Doing("applying");
        return true;
    }

    void
    Begin() {
        in_transaction_ = true;
        xid_ = change_.xid;
        begin_commit_lsn_ = change_.commit_lsn;
        skipping_ = settings_.skipped.contains(begin_commit_lsn_);
        batch_.BeginTransaction({xid_, begin_commit_lsn_});
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
        // One that was written piece by piece shares its target transaction with no other.
        if (batch_.full() || target_) {
            CommitComplete();
        }
    }

    void
    DropOpenTransaction() {
        batch_.DropOpenTransaction();
        target_.reset(); // it has nothing else, see WriteOpen()
        open_changes_ = 0;
        open_passed_over_ = 0;
        skipping_ = false;
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
        ReportFlushed();
        if (observer_.ReadLimit().written == limit.written &&
            (in_transaction_ || observer_.ReadLimit().received == limit.received)) {
            const bool waiting_for_disk = positions_.size() > 0;
            pg::Wait({.timeout = waiting_for_disk ? milliseconds(50) : milliseconds(1000)});
        }
        return false;
    }

    void
    Take() {
        if (skipping_) {
            open_passed_over_++;
            return;
        }
        if (change_.kind == ChangeKind::kTruncate) {
            for (const auto &relation : change_.truncated) {
                if (IsWanted(*relation)) {
                    batch_.AddTruncate(relation, change_.truncate_restart_identity);
                    open_changes_++;
                }
            }
        } else if (IsWanted(*change_.relation)) {
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

    // A transaction that does not fit a batch is written piece by piece, in a target transaction
    // that takes no other: so it can be given up alone.
    void
    WriteOpen() {
        OpenTarget();
        writer_.Write(batch_, batch_.items());
        batch_.Clear();
    }

    // Whether the change is for the target. What the user left out is counted; what nobody knows of
    // is an error: it was created on the source after the migration began.
    bool
    IsWanted(const RemoteRelation &relation) {
        const auto known = tables_.find({relation.schema, relation.name});
        if (known != tables_.end()) {
            const CopyTable &table = *known->second;
            if (table.relkind != 'p' && !table.copy_data) {
                open_passed_over_++;
                return false;
            }
            // Rows copied under a later snapshot have this transaction's effects already.
            return !table.snapshot_lsn.valid() || begin_commit_lsn_ >= table.snapshot_lsn;
        }
        if (!settings_.filter.Selects(relation.schema, relation.name) ||
            relation.schema.starts_with("pg_")) {
            open_passed_over_++;
            return false;
        }
        return IsUnknownAccepted(relation);
    }

    bool
    IsUnknownAccepted(const RemoteRelation &relation) {
        if (accepted_unknown_.contains({relation.schema, relation.name})) {
            return true;
        }
        // Once somebody has made the table on the target, its changes can be applied.
        if (!ExistsOnTarget(relation)) {
            CommitComplete();
            failure_.Set(relation, "change", {xid_, begin_commit_lsn_});
            throw Error(sqlstate::kUndefinedTable,
                        "table " + QualifiedName(relation.schema, relation.name) +
                            " was created on the source after the migration began")
                .Detail("The change stream has rows for it, first in the transaction that commits "
                        "at " +
                        begin_commit_lsn_.ToString() + ".")
                .Hint("Create it on the target as it is on the source, then run: SELECT "
                      "livemigrate.migration_resume();");
        }
        accepted_unknown_.insert({relation.schema, relation.name});
        return true;
    }

    bool
    ExistsOnTarget(const RemoteRelation &relation) {
        std::optional<pg::Transaction> own;
        if (!target_) {
            own.emplace();
        }
        const bool exists = pg::Query("SELECT pg_catalog.to_regclass($1) IS NOT NULL",
                                      {QualifiedName(relation.schema, relation.name)})
                                .Scalar() == "t";
        if (own) {
            own->Commit();
        }
        return exists;
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
            writer_.Write(batch_, batch_.complete().first(last.items));
        }
        uint64_t changes = 0;
        uint64_t passed_over = 0;
        for (const Complete &one : these) {
            changes += one.changes;
            passed_over += one.passed_over;
            if (one.skipped) {
                OpenTarget();
                observer_.Skipped(one.begin_lsn, one.passed_over);
            }
        }
        XLogRecPtr local = 0;
        if (target_) {
            if (!observer_.Announce(last.end_lsn)) {
                throw Error(sqlstate::kSerializationFailure,
                            "endpos was set before transactions that were being applied")
                    .Detail("Apply begins again behind the last transaction applied.");
            }
            local = target_->Commit(last.end_lsn, last.commit_time);
            target_.reset();
        }
        positions_.Add(local, last.end_lsn, last.position);
        observer_.Committed(last.end_lsn, last.commit_time, count, changes, passed_over);
        ReportFlushed();
    }

    void
    ReportFlushed() {
        const XLogRecPtr local = pg::LocalFlushPosition();
        if (const std::optional<FlushPosition> flushed = positions_.FlushedUpTo(local)) {
            observer_.Flushed(flushed->remote_end_lsn);
            if (flushed->spool_position.segment > pruned_segment_) {
                PruneSpool(settings_.spool_directory, flushed->spool_position);
                pruned_segment_ = flushed->spool_position.segment;
            }
        }
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
    std::unique_ptr<ChangeDecoder> decoder_;
    std::map<std::pair<std::string, std::string>, const CopyTable *> tables_;
    std::set<std::pair<std::string, std::string>> accepted_unknown_;
    FlushPositions positions_;
    uint64_t pruned_segment_ = 0;

    Change change_;
    ChangeBatch batch_;
    ApplyWriter writer_;
    // Open from one step to the next only with a part of the open source transaction in it.
    std::optional<TargetTransaction> target_;

    bool in_transaction_ = false;
    uint32_t xid_ = 0;
    Lsn begin_commit_lsn_;
    uint64_t open_changes_ = 0;
    uint64_t open_passed_over_ = 0;
    bool skipping_ = false; // the user wants the open transaction passed over

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
    std::vector<Complete> complete_;
};

} // namespace

void
ApplyFailure::Set(const RemoteRelation &relation, const char *what,
                  const ChangeBatch::Transaction &transaction) {
    *this = {true, relation.schema, relation.name,         what,
             "",   transaction.xid, transaction.commit_lsn};
}

void
ApplyFailure::Set(const char *what, const ChangeBatch::Item &item) {
    Set(*item.row.relation, what, item.transaction);
    key = DescribeKey(item.row);
}

Error
ApplyFailure::Describe(const Error &error) const {
    const std::string hint =
        "Remove the cause, then run: SELECT livemigrate.migration_resume(); or, to pass over the "
        "whole transaction: SELECT livemigrate.skip_transaction('" +
        commit_lsn.ToString() + "'); SELECT livemigrate.migration_resume();";
    return Error(error.sqlstate(), error.message())
        .Detail(error.detail())
        .Hint(error.hint().empty() ? hint : error.hint())
        .Context("applying " + command + " on " + QualifiedName(schema, table) +
                 (key.empty() ? "" : " " + key) + " of source transaction " + std::to_string(xid) +
                 ", which commits at " + commit_lsn.ToString());
}

void
Apply(const ApplySettings &settings, ApplyObserver &observer, ApplyFailure &failure) {
    Applier applier(settings, observer, failure);
    applier.Run();
}

} // namespace livemigrate::stage
