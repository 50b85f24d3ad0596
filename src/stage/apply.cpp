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
#include "stage/target_relation.hpp"
#include "stage/transcoding_decoder.hpp"

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <set>

namespace livemigrate::stage {

namespace {

using std::chrono::milliseconds;
using Step = TransactionReader::Step;

// A batch ends at the first transaction end behind this many changes. Not more: versions of a hot
// row cannot be pruned inside the transaction that makes them, and its chain grows with the batch.
constexpr uint64_t kBatchChanges = 400;

void
ServeInterrupts() {
    pg::CheckInterrupts();
}

// The target transaction that gathers source transactions.
class Batch {
  public:
    Batch() {
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
          reader_(settings.spool_directory, settings.spool_identity), decoder_(MakeStream()) {
        format_.plugin = settings.plugin;
        // pgoutput converts to our client_encoding; wal2json is brought to UTF-8 before decoding.
        format_.stream_encoding =
            settings.plugin == Plugin::kPgoutput ? GetDatabaseEncoding() : PG_UTF8;
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
            return replorigin_session_get_progress(false);
        });
        transaction.Commit();
        return Lsn{progress};
    }

    // One step through the stream. True when endpos is reached.
    bool
    Advance(TransactionReader &transactions) {
        const ApplyObserver::Limit limit = observer_.ReadLimit();
        const Lsn endpos = observer_.Endpos();
        for (int i = 0; i < 1000; i++) {
            switch (transactions.Next(limit.written, change_)) {
            case Step::kNothing:
                return Idle(limit, endpos);
            case Step::kBegin:
                if (BeyondEndpos(change_.commit_lsn, endpos)) {
                    CommitBatch();
                    return true;
                }
                if (MayStraddle(change_.commit_lsn, endpos)) {
                    CommitBatch();
                }
                in_transaction_ = true;
                xid_ = change_.xid;
                begin_commit_lsn_ = change_.commit_lsn;
                changes_before_ = batch_changes_;
                break;
            case Step::kChange:
                Take();
                break;
            case Step::kCommit:
                if (EndTransaction(transactions, endpos)) {
                    return true;
                }
                break;
            case Step::kReset:
                // What was applied of the open transaction must go; the spool is read again.
                throw Error(sqlstate::kConnectionFailure,
                            "the connection was lost inside a transaction")
                    .Detail("Apply begins again behind the last transaction applied.");
            }
        }
        return false;
    }

    // Whether a transaction whose commit record begins at `commit_lsn` may end beyond endpos, so
    // that it must be possible to leave it out alone. No commit record is nearly as long as this.
    static bool
    MayStraddle(Lsn commit_lsn, Lsn endpos) {
        constexpr uint64_t kLongestCommitRecord = 64 << 20;
        return endpos.valid() && endpos.value - commit_lsn.value < kLongestCommitRecord;
    }

    bool
    EndTransaction(const TransactionReader &transactions, Lsn endpos) {
        ApplyTruncates();
        in_transaction_ = false;
        if (!IncludedByEndpos(change_.end_lsn, endpos)) {
            // endpos lies inside the commit record, or was set when the transaction had begun.
            if (batch_transactions_ != 0) {
                throw Error(sqlstate::kSerializationFailure,
                            "endpos was set inside a transaction that is being applied")
                    .Detail("Apply begins again behind the last transaction applied.");
            }
            batch_.reset();
            batch_changes_ = 0;
            return true;
        }
        batch_transactions_++;
        batch_end_ = change_.end_lsn;
        batch_commit_time_ = change_.commit_time;
        batch_position_ = transactions.position();
        if (batch_changes_ >= kBatchChanges) {
            CommitBatch();
        }
        return false;
    }

    // Nothing more to read at the moment.
    bool
    Idle(const ApplyObserver::Limit &limit, Lsn endpos) {
        if (!in_transaction_) {
            CommitBatch();
            observer_.Drained(limit.received);
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
        if (change_.kind == ChangeKind::kTruncate) {
            for (const auto &relation : change_.truncated) {
                if (IsWanted(*relation)) {
                    truncated_.push_back(relation);
                    restart_identity_ = restart_identity_ || change_.truncate_restart_identity;
                }
            }
            return;
        }
        ApplyTruncates();
        if (!IsWanted(*change_.relation)) {
            return;
        }
        Guarded(*change_.relation, CommandName(change_.kind), [this] {
            OpenBatch();
            TargetRelation &target = FindTarget(change_.relation);
            if (target.is_ignored()) {
                return;
            }
            switch (change_.kind) {
            case ChangeKind::kInsert:
                target.Insert(change_);
                break;
            case ChangeKind::kUpdate:
                target.Update(change_);
                break;
            default:
                target.Delete(change_);
                break;
            }
            batch_changes_++;
        });
    }

    static const char *
    CommandName(ChangeKind kind) {
        switch (kind) {
        case ChangeKind::kInsert:
            return "INSERT";
        case ChangeKind::kUpdate:
            return "UPDATE";
        default:
            return "DELETE";
        }
    }

    // Runs `action` and says in its errors which change of the stream they are about.
    template <typename Action>
    void
    Guarded(const RemoteRelation &relation, const char *command, Action &&action) {
        try {
            action();
        } catch (const Error &error) {
            failure_ = {true, relation.schema, relation.name, command, xid_, begin_commit_lsn_};
            const std::string where = std::string("applying ") + command + " on " +
                                      QualifiedName(relation.schema, relation.name) +
                                      " of source transaction " + std::to_string(xid_) +
                                      ", which commits at " + begin_commit_lsn_.ToString();
            throw Error(error.sqlstate(), error.message())
                .Detail(error.detail())
                .Hint(error.hint())
                .Context(where);
        }
    }

    // Tables truncated together on the source must be truncated together: they may reference one
    // another. wal2json sends one message for each, hence the gathering.
    void
    ApplyTruncates() {
        if (truncated_.empty()) {
            return;
        }
        Guarded(*truncated_.front(), "TRUNCATE", [this] {
            OpenBatch();
            std::string names;
            std::set<std::string> seen;
            for (const auto &relation : truncated_) {
                const TargetRelation &target = FindTarget(relation);
                const std::string &name = target.target_name();
                if (target.is_routed() && !TruncatesWhole(target)) {
                    throw Error(sqlstate::kFeatureNotSupported,
                                "cannot truncate one partition of a table that is partitioned by "
                                "the hash of an enum")
                        .Detail("Its rows lie in other partitions on the target.")
                        .Hint("Delete the rows on the target by hand, then run: SELECT "
                              "livemigrate.migration_resume();");
                }
                if (seen.insert(name).second) {
                    names += (names.empty() ? "" : ", ") + name;
                }
            }
            const std::string sql =
                "TRUNCATE TABLE " + names + (restart_identity_ ? " RESTART IDENTITY" : "");
            pg::Call([&] {
                PushActiveSnapshot(GetTransactionSnapshot());
                if (SPI_execute(sql.c_str(), false, 0) < 0) {
                    elog(ERROR, "could not execute TRUNCATE");
                }
                PopActiveSnapshot();
            });
            batch_changes_++;
        });
        truncated_.clear();
        restart_identity_ = false;
    }

    // Whether the truncated relations include the one that the rows are routed through.
    bool
    TruncatesWhole(const TargetRelation &target) {
        return std::any_of(truncated_.begin(), truncated_.end(), [&](const auto &relation) {
            return QualifiedName(relation->schema, relation->name) == target.target_name();
        });
    }

    // Whether the change is for the target. What the user left out is counted; what nobody knows of
    // is an error: it was created on the source after the migration began.
    bool
    IsWanted(const RemoteRelation &relation) {
        const auto known = tables_.find({relation.schema, relation.name});
        if (known != tables_.end()) {
            const CopyTable &table = *known->second;
            if (table.relkind != 'p' && !table.copy_data) {
                batch_skipped_++;
                return false;
            }
            // Rows copied under a later snapshot have this transaction's effects already.
            return !table.snapshot_lsn.valid() || begin_commit_lsn_ >= table.snapshot_lsn;
        }
        if (!settings_.filter.Selects(relation.schema, relation.name) ||
            relation.schema.starts_with("pg_")) {
            batch_skipped_++;
            return false;
        }
        return IsUnknownAccepted(relation);
    }

    bool
    IsUnknownAccepted(const RemoteRelation &relation) {
        if (accepted_unknown_.contains({relation.schema, relation.name})) {
            return true;
        }
        failure_ = {true, relation.schema, relation.name, "change", xid_, begin_commit_lsn_};
        // Once somebody has made the table on the target, its changes can be applied.
        OpenBatch();
        const bool exists = pg::Query("SELECT pg_catalog.to_regclass($1) IS NOT NULL",
                                      {QualifiedName(relation.schema, relation.name)})
                                .Scalar() == "t";
        if (!exists) {
            throw Error(sqlstate::kUndefinedTable,
                        "table " + QualifiedName(relation.schema, relation.name) +
                            " was created on the source after the migration began")
                .Detail("The change stream has rows for it, first in the transaction that commits "
                        "at " +
                        begin_commit_lsn_.ToString() + ".")
                .Hint("Create it on the target as it is on the source, then run: SELECT "
                      "livemigrate.migration_resume();");
        }
        failure_ = {};
        accepted_unknown_.insert({relation.schema, relation.name});
        return true;
    }

    void
    OpenBatch() {
        if (!batch_) {
            batch_.emplace();
        }
    }

    TargetRelation &
    FindTarget(const std::shared_ptr<const RemoteRelation> &remote) {
        auto &slot = targets_[remote.get()];
        if (!slot || !slot->is_valid()) {
            slot = std::make_unique<TargetRelation>(remote, format_);
        }
        return *slot;
    }

    void
    CommitBatch() {
        if (batch_transactions_ == 0) {
            return;
        }
        XLogRecPtr local = 0;
        if (batch_) {
            if (!observer_.Announce(batch_end_)) {
                throw Error(sqlstate::kSerializationFailure,
                            "endpos was set before transactions that were being applied")
                    .Detail("Apply begins again behind the last transaction applied.");
            }
            local = batch_->Commit(batch_end_, batch_commit_time_);
            batch_.reset();
        }
        positions_.Add(local, batch_end_, batch_position_);
        observer_.Committed(batch_end_, batch_commit_time_, batch_transactions_, batch_changes_,
                            batch_skipped_);
        batch_transactions_ = 0;
        batch_changes_ = 0;
        batch_skipped_ = 0;
        changes_before_ = 0;
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
    ValueFormat format_;
    SpoolReader reader_;
    std::unique_ptr<ChangeDecoder> decoder_;
    std::map<std::pair<std::string, std::string>, const CopyTable *> tables_;
    std::set<std::pair<std::string, std::string>> accepted_unknown_;
    std::map<const RemoteRelation *, std::unique_ptr<TargetRelation>> targets_;
    FlushPositions positions_;
    uint64_t pruned_segment_ = 0;

    Change change_;
    bool in_transaction_ = false;
    uint32_t xid_ = 0;
    Lsn begin_commit_lsn_;
    uint64_t changes_before_ = 0; // of the batch, when the open source transaction began
    std::vector<std::shared_ptr<const RemoteRelation>> truncated_;
    bool restart_identity_ = false;

    std::optional<Batch> batch_;
    uint64_t batch_transactions_ = 0;
    uint64_t batch_changes_ = 0;
    uint64_t batch_skipped_ = 0;
    Lsn batch_end_;
    int64_t batch_commit_time_ = 0;
    SpoolPosition batch_position_;
};

} // namespace

void
Apply(const ApplySettings &settings, ApplyObserver &observer, ApplyFailure &failure) {
    Applier applier(settings, observer, failure);
    applier.Run();
}

} // namespace livemigrate::stage
