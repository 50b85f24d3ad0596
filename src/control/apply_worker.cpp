#include "pg/prelude.hpp"

#include "control/apply_worker.hpp"

#include "control/apply_dealing.hpp"
#include "control/apply_hold.hpp"
#include "control/apply_origins.hpp"
#include "control/new_partitions.hpp"
#include "control/replaced_tables.hpp"
#include "control/shared_memory.hpp"
#include "control/spool_identity.hpp"
#include "control/table_selection.hpp"
#include "control/work_directory.hpp"
#include "core/apply_progress.hpp"
#include "core/retry_policy.hpp"
#include "core/sql_text.hpp"
#include "pg/guc.hpp"
#include "pg/spi.hpp"
#include "pg/table_manager.hpp"
#include "pg/transaction.hpp"
#include "pg/wait.hpp"
#include "source/table_columns.hpp"
#include "stage/apply.hpp"
#include "stage/apply_lossy_columns.hpp"
#include "stage/followed_columns.hpp"

#include <algorithm>

namespace livemigrate::control {

namespace {

void
RaiseTo(std::atomic<uint64_t> &position, uint64_t to) {
    // One writer; a worker that starts again tells no less than what it had committed before.
    position.store(std::max(position.load(), to));
}

class SharedApplyObserver final : public stage::ApplyObserver {
  public:
    SharedApplyObserver(SharedState &state, WorkerSlot &slot)
        : state_(state), slot_(slot), index_(slot.member.load()), own_(state.apply[index_]) {
        own_.pid.store(MyProcPid);
        own_.ended_at.store(0);
        own_.held.store(0);
        // It reads from the beginning of what is there, so that must stay, and whoever has looked
        // before be done.
        own_.keep_from.store(0);
        if (index_ == 0) {
            state_.pruning.store(0);
        }
        while (state_.pruning.load() != 0) {
            CheckCoordinator(state_);
            pg::SleepOnLatch(std::chrono::milliseconds(10));
        }
    }

    Limit
    ReadLimit() override {
        CheckCoordinator(state_);
        Limit limit;
        limit.received = Lsn{state_.received_lsn.load()};
        ReadSpoolPosition(state_, limit.written.segment, limit.written.offset);
        return limit;
    }
    Lsn
    Endpos() override {
        const uint64_t level = state_.level_at.load();
        last_endpos_ = Lsn{level != 0 ? level : state_.endpos.load()};
        return last_endpos_;
    }
    bool
    Announce(Lsn end_lsn) override {
        own_.committing.store(end_lsn.value);
        const uint64_t endpos = state_.endpos.load();
        return endpos == 0 || end_lsn.value <= endpos;
    }
    void
    Committed(Lsn end_lsn, int64_t commit_time, const stage::ApplyCounts &counts) override {
        if (commit_time != 0) {
            own_.commit_time.store(commit_time);
        }
        RaiseTo(own_.applied_lsn, end_lsn.value);
        // Every worker sees every transaction.
        state_.transactions_applied.fetch_add(index_ == 0 ? counts.transactions : 0);
        state_.changes_applied.fetch_add(counts.changes);
        state_.changes_skipped.fetch_add(counts.skipped);
        state_.changes_in_source_order.fetch_add(counts.in_source_order);
        PublishApplyProgress(state_);
    }
    void
    Skipped(Lsn commit_lsn, uint64_t changes) override {
        RecordSkippedTransaction(state_.migration, commit_lsn, changes);
    }
    void
    Flushed(Lsn end_lsn, uint64_t segment) override {
        RaiseTo(own_.flushed_lsn, end_lsn.value);
        if (segment > own_.keep_from.load()) {
            own_.keep_from.store(segment);
            if (index_ != 0) {
                pg::WakeProcess(state_.apply[0].pid.load());
            }
        }
        PublishApplyProgress(state_);
    }
    uint64_t
    BeginPruning() override {
        if (index_ != 0) {
            return 0;
        }
        state_.pruning.store(1);
        return FirstSegmentNeeded(state_);
    }
    void
    EndPruning() override {
        if (index_ == 0) {
            state_.pruning.store(0);
        }
    }
    void
    Drained(Lsn received) override {
        own_.drained_lsn.store(received.value);
        PublishApplyProgress(state_);
    }
    void
    ArrivedAt(Lsn commit_lsn) override {
        RaiseTo(own_.arrived_lsn, commit_lsn.value);
        if (index_ != 0) {
            pg::WakeProcess(state_.apply[0].pid.load());
        }
    }
    bool
    OthersHaveArrivedAt(Lsn commit_lsn) override {
        return OthersHaveArrived(state_, index_, commit_lsn.value);
    }
    bool
    FirstHasPassed(Lsn end_lsn) override {
        return state_.apply[0].applied_lsn.load() >= end_lsn.value;
    }
    void
    WakeOthers() override {
        WakeApply(state_);
    }
    Lsn
    HoldAt() override {
        return Lsn{EndposHolder(state_.endpos_hold) != 0 ? kHoldHere : CurrentHold(state_.hold)};
    }
    void
    Held(Lsn hold) override {
        if (state_.hold.lsn.load() != hold.value) {
            return; // it stands still for another
        }
        own_.held.store(hold.value);
        if (PublishHeld(state_)) {
            pg::WakeProcess(state_.hold.holder_pid.load());
        }
    }
    void
    Doing(const std::string &what) override {
        SetDoing(slot_, what);
    }
    void
    Ended() {
        own_.ended_at.store(last_endpos_.value);
        PublishEndposReached(state_);
    }

  private:
    SharedState &state_;
    WorkerSlot &slot_;
    const uint32_t index_;
    ApplyWorkerState &own_;
    Lsn last_endpos_;
};

// Of several workers that meet conflicts before they are stopped, one tells: so there is one
// transaction to look at, and to skip. It tells again if it is interrupted in that.
void
RecordConflict(const Migration &migration, SharedState &state, uint32_t worker,
               const stage::ApplyFailure &failure, const Error &error) {
    if (!failure.set || IsTransient(error.sqlstate())) {
        return;
    }
    uint32_t teller = 0;
    if (!state.conflict.compare_exchange_strong(teller, worker + 1) && teller != worker + 1) {
        throw Error(sqlstate::kSerializationFailure,
                    "another apply worker has met a conflict: " + error.message());
    }
    const bool is_unclear = failure.unclear_partition != 0;
    const std::string key = is_unclear ? std::to_string(failure.unclear_partition) : failure.key;
    pg::Transaction transaction;
    pg::Query("INSERT INTO livemigrate.conflict (migration, kind, schema_name, table_name, key, "
              "xid, end_lsn, sqlstate, message) VALUES ($1::int, $2, $3::name, $4::name, $5, "
              "$6::bigint, $7::pg_lsn, $8, $9)",
              {std::to_string(migration.id), is_unclear ? "partition" : failure.command,
               failure.schema, failure.table, key.empty() ? std::nullopt : pg::SqlValue(key),
               std::to_string(failure.xid), failure.commit_lsn.ToString(), error.sqlstate(),
               error.message()});
    transaction.Commit();
}

// The failure's table, if what its columns were is known.
const CopyTable *
FindTable(const stage::ApplySettings &settings, const stage::ApplyFailure &failure) {
    for (const CopyTable &table : settings.tables) {
        if (table.schema == failure.schema && table.name == failure.table &&
            settings.columns.contains(table.id)) {
            return &table;
        }
    }
    return nullptr;
}

// What became of the table, as far as the failure is about that: wal2json does not tell that a
// column is new before there is a value for it.
std::vector<ColumnChange>
ChangesOf(const stage::ApplyFailure &failure, const CopyTable &table,
          const std::vector<SourceColumn> &before, const std::vector<SourceColumn> &now) {
    if (!failure.columns.empty()) {
        return failure.columns;
    }
    std::vector<ColumnChange> changes = FindColumnChanges(before, now);
    std::erase_if(changes, [](const ColumnChange &change) {
        return change.kind == ColumnChange::Kind::kRetyped;
    });
    pg::Transaction transaction;
    changes = stage::NotFollowed(table.target_schema, table.target_name, changes);
    transaction.Commit();
    return changes;
}

// The column, of those that were added, whose values the stream loses; nullptr if there is none.
const ColumnDefinition *
FindLossy(const stage::ApplySettings &settings, const std::vector<ColumnChange> &changes,
          const std::vector<ColumnDefinition> &definitions) {
    if (!stage::LosesNumbers(settings.plugin, settings.wal2json_numeric_option)) {
        return nullptr;
    }
    const auto found = std::find_if(
        definitions.begin(), definitions.end(), [&](const ColumnDefinition &definition) {
            return !definition.not_null &&
                   std::any_of(changes.begin(), changes.end(), [&](const ColumnChange &change) {
                       return change.kind == ColumnChange::Kind::kAdded &&
                              change.column.name == definition.name &&
                              stage::IsLossyType(change.column.type_oid);
                   });
        });
    return found == definitions.end() ? nullptr : &*found;
}

// The stream does not say how the source defines a column, nor which one was renamed: the source
// does. What cannot be seen on the target to be put right is told once.
Error
WithSourceColumns(const Migration &migration, const stage::ApplySettings &settings,
                  const stage::ApplyFailure &failure, const Error &error) {
    const CopyTable *table = FindTable(settings, failure);
    if (table == nullptr) {
        return error;
    }
    source::Connection source =
        source::Connection::Open(migration.settings.source, source::ConnectionKind::kSql);
    const std::vector<SourceColumn> &before = settings.columns.at(table->id);
    const std::vector<SourceColumn> now = source::ListColumns(source)[table->source_oid];
    const std::vector<ColumnChange> changes = ChangesOf(failure, *table, before, now);
    std::vector<ColumnDefinition> definitions =
        source::DescribeColumns(source, failure.schema, failure.table);
    pg::Transaction transaction;
    const std::vector<ColumnDefinition> streamed = stage::DefinitionsOf(changes);
    definitions.insert(definitions.end(), streamed.begin(), streamed.end()); // if dropped since
    const std::vector<std::string> statements = StatementsToFollow(
        QualifiedName(table->target_schema, table->target_name), changes, before, definitions);
    if (!failure.columns.empty() && statements.empty()) {
        SetColumnsOf(migration.id, table->id, now);
    }
    transaction.Commit();
    if (const ColumnDefinition *lossy = FindLossy(settings, changes, definitions)) {
        return stage::LossyColumn(failure.schema, failure.table, lossy->name,
                                  stage::JoinStatements(statements))
            .Context(error.context());
    }
    return statements.empty()
               ? error
               : Error(error.sqlstate(), error.message())
                     .Detail(error.detail())
                     .Hint("On the target run: " + stage::JoinStatements(statements) +
                           "SELECT livemigrate.migration_resume();")
                     .Context(error.context());
}

// The migration goes on without the table when it is resumed.
Error
LeaveReplacedOut(const Migration &migration, const stage::ApplySettings &settings,
                 const stage::ApplyFailure &failure, const Error &error) {
    const auto table =
        std::find_if(settings.tables.begin(), settings.tables.end(),
                     [&](const CopyTable &one) { return one.id == failure.replaced_table; });
    pg::Transaction transaction;
    LeaveReplacedTableOut(migration.id, *table);
    transaction.Commit();
    return TablesReplaced({*table}).Context(error.context());
}

// The error, or a better one where it is about columns and the source can be asked.
Error
Explain(const Migration &migration, const stage::ApplySettings &settings,
        const stage::ApplyFailure &failure, const Error &error) {
    if (failure.replaced_table != 0) {
        return LeaveReplacedOut(migration, settings, failure, error);
    }
    const bool is_about_columns =
        failure.set && (!failure.columns.empty() || error.sqlstate() == sqlstate::kUndefinedColumn);
    if (!is_about_columns) {
        return error;
    }
    try {
        return WithSourceColumns(migration, settings, failure, error);
    } catch (const Error &) {
        return error;
    }
}

// Whether the change was one of a partition that is a table of the migration from now on.
bool
IsAdopted(const Migration &migration, const stage::ApplySettings &settings,
          stage::ApplyFailure &failure, const Error &error, const source::WaitObserver &observer) {
    const bool is_unknown =
        failure.set && error.sqlstate() == sqlstate::kUndefinedTable &&
        std::none_of(settings.tables.begin(), settings.tables.end(), [&](const CopyTable &table) {
            return table.schema == failure.schema && table.name == failure.table;
        });
    return is_unknown && AdoptPartition(migration, failure.schema, failure.table,
                                        failure.unclear_partition, observer);
}

stage::ApplySettings
SettingsOf(const Migration &migration, uint32_t database, uint32_t worker) {
    stage::ApplySettings settings;
    settings.spool_directory = WorkDirectory(database, migration.id).spool();
    settings.spool_identity = IdentityOf(migration);
    settings.plugin = *migration.plugin;
    settings.wal2json_numeric_option = migration.wal2json_numeric_option;
    settings.source_encoding = migration.source_encoding;
    settings.origin = OriginOf(migration.origin_name, worker);
    settings.start_after = migration.snapshot_lsn;
    settings.filter = FilterOf(migration.settings);
    settings.worker = worker;
    settings.workers = static_cast<uint32_t>(migration.settings.apply_jobs);
    pg::Transaction transaction;
    settings.tables = LoadTables(migration.id);
    settings.columns = LoadColumns(migration.id);
    settings.skipped = LoadSkippedTransactions(migration.id);
    if (settings.workers > 1) {
        settings.dealings = LoadDealings(migration.id);
    }
    settings.join_nodes = pg::JoinNodesSql();
    pg::AdaptExtensions();
    transaction.Commit();
    return settings;
}

} // namespace

void
RunApplyWorker(const Migration &migration, uint32_t database, SharedState &state,
               WorkerSlot &slot) {
    const source::WaitObserver waits_for_source = [&] {
        CheckCoordinator(state);
        SetDoing(slot, "waiting for the source, asked for its partitions");
    };
    stage::ApplySettings settings = SettingsOf(migration, database, slot.member.load());
    source::OriginsKnown known{.accepted = {}, .recovery_mark = migration.source_recovery_mark};
    {
        pg::Transaction transaction;
        known.accepted = AcceptedPartitions(migration.id);
        transaction.Commit();
    }
    settings.ask_about_root = [&](const auto &root, const auto &oids, const auto &names) {
        source::Connection source =
            source::Connection::Open(migration.settings.source, source::ConnectionKind::kSql);
        return source::DescribeRoot(source, root, oids, names, known, waits_for_source);
    };
    pg::SetConfig("session_replication_role", "replica");
    pg::SetConfig("synchronous_commit", "off");
    // Every statement finds rows by their key, thousands of times: through the index, also where a
    // table is so small that a scan would look cheaper now. Whether a plan is for all values is
    // said when a statement is prepared.
    pg::SetConfig("enable_seqscan", "off");
    pg::SetConfig("plan_cache_mode", "auto");
    SharedApplyObserver observer(state, slot);
    stage::ApplyFailure failure;
    try {
        stage::Apply(settings, observer, failure);
    } catch (const Error &error) {
        try {
            if (IsAdopted(migration, settings, failure, error, waits_for_source)) {
                throw Error(sqlstate::kSerializationFailure,
                            "partition " + QualifiedName(failure.schema, failure.table) +
                                " was created on the source")
                    .Detail("Apply begins again where its first row is.");
            }
        } catch (const Error &reason) {
            RecordConflict(migration, state, settings.worker, failure, reason);
            throw;
        }
        RecordConflict(migration, state, settings.worker, failure, error);
        throw Explain(migration, settings, failure, error);
    }
    observer.Ended();
}

} // namespace livemigrate::control
