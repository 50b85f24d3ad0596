// The source's snapshot under which tables are copied: taken with the slot, and anew when it is
// lost.

#include "pg/prelude.hpp"

#include "control/coordinator.hpp"

#include "control/mixed_partitions.hpp"
#include "control/source_blockers.hpp"
#include "control/table_selection.hpp"
#include "core/operator_text.hpp"
#include "core/sql_text.hpp"
#include "pg/local_settings.hpp"
#include "pg/sql_row.hpp"
#include "pg/table_manager.hpp"
#include "pg/transaction.hpp"
#include "pg/truncation.hpp"
#include "source/table_columns.hpp"
#include "stage/copy.hpp"
#include "stage/receive_slot.hpp"
#include "stage/source_lock.hpp"

#include <algorithm>

namespace livemigrate::control {

namespace {

// Rows of parts that were complete belong to the old snapshot. A table in one part empties itself
// when it is copied; others are emptied here. REQUIRES: an open transaction.
void
EmptyUnfinished(const std::vector<CopyTable> &tables) {
    for (const CopyTable &table : tables) {
        if (table.state == "copying" && table.parts > 1) {
            pg::EmptyTable(pg::TableOid(table.schema, table.name));
        }
    }
}

} // namespace

// Takes over an exported snapshot into a session of its own and exports it again from there.
void
Coordinator::HoldSnapshot(const std::string &exported) {
    snapshot_session_.emplace(stage::OpenSnapshotSession(migration_.settings.source, exported));
    const pg::SqlResult again = snapshot_session_->Query("SELECT pg_catalog.pg_export_snapshot()");
    migration_.snapshot_name = again.Scalar().value_or("");
    state_.snapshot_is_stale.store(0);
    // At once: whoever waits from here on reads the migration's row again.
    pg::Transaction transaction;
    control::SetSnapshot(migration_.id, Lsn{}, migration_.snapshot_name);
    transaction.Commit();
}

void
Coordinator::ShowLockHolders(int waiting_pid) {
    const std::string doing = "waiting for locks on the source's tables";
    const std::optional<SourceBlockers> holders =
        AskWhoBlocks(doing, [&](source::Connection &monitor, const auto &observer) {
            return FindLockHolders(monitor, waiting_pid, observer);
        });
    if (holders) {
        SetMessage(doing + holders->who,
                   "The migration goes on as soon as they are released." + holders->command);
    }
    CheckRequests();
}

void
Coordinator::LockTables(const std::vector<CopyTable> &tables) {
    std::vector<stage::SourceTableName> wanted;
    for (const CopyTable &table : tables) {
        if (table.copy_data && table.state != "done") {
            wanted.push_back({table.source_oid, table.schema, table.name});
        }
    }
    stage::LockSourceTables(*snapshot_session_, wanted, [&] {
        KeepReceiving();
        ShowLockHolders(PQbackendPID(snapshot_session_->raw()));
    });
}

// Stages that read the source as of the snapshot need a session under it. After a restart there is
// none: a new consistent point then serves every table that is not complete.
void
Coordinator::EnsureSnapshot() {
    // Before a wait for a new snapshot: what is received the source need not keep.
    if (!receiver_wanted_) {
        receiver_wanted_ = true;
        pool_.Ensure(WorkerKind::kReceiver, 1);
    }
    if (SnapshotIsHeld() && !snapshot_session_->IsAlive()) {
        snapshot_session_.reset();
    }
    if (!SnapshotIsHeld()) {
        try {
            AcquireNewSnapshot();
        } catch (...) {
            // Half taken, it is of no use: tables would be copied under a snapshot they do not
            // name.
            snapshot_session_.reset();
            throw;
        }
    }
    CheckBeforeEndpos();
}

// One that is lost, or of no use, is taken anew when the stage begins again.
void
Coordinator::CheckSnapshot() {
    if (!SnapshotIsHeld()) {
        return;
    }
    if (!snapshot_session_->IsAlive()) {
        snapshot_session_.reset();
        throw Error(sqlstate::kConnectionFailure, "the source's snapshot was lost")
            .Detail("The session that held it ended.");
    }
    if (state_.snapshot_is_stale.load() != 0) {
        snapshot_session_.reset();
        throw Error(sqlstate::kConnectionFailure, "the source's snapshot is of no use any more")
            .Detail("Since it was taken a table that is to be copied, or its schema, was dropped, "
                    "renamed or made anew.");
    }
}

// In waits that do not tick.
void
Coordinator::KeepReceiving() {
    if (receiver_wanted_) {
        pool_.Supervise();
        pool_.Ensure(WorkerKind::kReceiver, 1);
    }
}

// Tables would have what the rest of the migration leaves out. The snapshot is held all the same,
// and its position recorded: another one would lie later still, while from now on set_endpos()
// takes only positions behind it. It waits for our last transaction, or we have waited for its.
void
Coordinator::CheckBeforeEndpos() {
    Reload();
    pg::Transaction transaction;
    const Lsn snapshot = std::max(LatestSnapshot(migration_.id), migration_.snapshot_lsn);
    transaction.Commit();
    if (migration_.endpos.valid() && migration_.endpos < snapshot) {
        throw Error(sqlstate::kObjectNotInPrerequisiteState,
                    "the snapshot of the tables to copy, at " + snapshot.ToString() +
                        ", lies behind endpos " + migration_.endpos.ToString())
            .Hint("SELECT livemigrate.set_endpos(); SELECT livemigrate.migration_resume();");
    }
}

// A snapshot of another server, or of one that lacks the slot, would not go with the stream.
void
Coordinator::CheckSlotIsThere(source::ReplicationStream &stream) {
    stream.IdentifySource(migration_.source_system_identifier, migration_.source_timeline);
    if (stream.connection()
            .Query("SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = " +
                   QuoteLiteral(migration_.slot_name))
            .rows.empty()) {
        stage::ThrowSlotIsGone(migration_.slot_name);
    }
}

void
Coordinator::AcquireNewSnapshot() {
    const std::string doing = "taking a new snapshot on the source";
    SetMessage(doing);
    source::ReplicationStream stream(
        source::Connection::Open(migration_.settings.source, source::ConnectionKind::kReplication));
    CheckSlotIsThere(stream);
    // One that was being made when its connection was lost may still come about.
    static int made_here = 0;
    const std::string slot = SlotName(migration_.settings.name).substr(0, 40) + "_s" +
                             std::to_string(MyProcPid) + "_" + std::to_string(++made_here);
    const auto began = std::chrono::steady_clock::now();
    const source::CreatedSlot made = stream.CreateSlot(slot, *migration_.plugin, true, [&] {
        KeepReceiving();
        const std::optional<SourceBlockers> blockers = AskWhoBlocks(doing, FindBlockers);
        if (blockers) {
            SetMessage(doing + ": waiting for transactions there" + blockers->who,
                       "The snapshot is taken as soon as they have ended." + blockers->command);
        }
        CheckRequests();
        CheckSlotTimeout(began, "a new snapshot", blockers);
    });
    HoldSnapshot(made.snapshot);
    const source::Filenodes files = source::ListFilenodes(*snapshot_session_);
    std::vector<CopyTable> tables;
    TablesToRepeat repeated;
    {
        pg::Transaction transaction;
        tables = LoadTables(migration_.id);
        repeated = FindTablesToRepeat(tables, files);
        transaction.Commit();
    }
    for (CopyTable &table : tables) {
        if (repeated.tables.contains(table.id)) {
            table.state = "pending"; // no more than that before it is emptied, too
        }
    }
    LockTables(tables);
    const source::ColumnsByTable columns = source::ListColumns(*snapshot_session_);
    pg::Transaction transaction;
    {
        // The source's tables are locked meanwhile: whoever is in the way is waited for anew.
        const pg::LocalSettings patience({{"lock_timeout", "10s"}});
        EmptyUnfinished(tables);
        RepeatTables(repeated);
    }
    for (const CopyTable &table : EmptiedUnloggedTables(migration_.id)) {
        CopyAgain(migration_.id, table.id);
        RecordEvent(migration_.id, "warning", migration_.stage,
                    "unlogged table " + QualifiedName(table.schema, table.name) +
                        " is copied again",
                    "A crash of the target emptied it.");
    }
    ResetUnfinishedParts(migration_.id);
    SetTablesSnapshot(migration_.id, made.consistent_point);
    SetFilenodes(migration_.id, files);
    SetColumnsToCopy(migration_.id, columns);
    control::SetSnapshot(migration_.id, Lsn{}, migration_.snapshot_name);
    RecordEvent(migration_.id, "warning", migration_.stage,
                "a new snapshot was taken at " + made.consistent_point.ToString(),
                "Tables that were complete keep their data; the others are copied under it.");
    transaction.Commit();
}

// REQUIRES: an open transaction.
void
Coordinator::RepeatTables(const TablesToRepeat &repeated) {
    for (const uint32_t relid : repeated.filled) {
        pg::EmptyTable(relid);
    }
    for (const int32_t table : repeated.tables) {
        CopyAgain(migration_.id, table);
    }
    if (!repeated.tables.empty()) {
        RecordEvent(migration_.id, "warning", migration_.stage,
                    Counted(repeated.tables.size(), "partition") +
                        (repeated.tables.size() == 1 ? " is" : " are") + " copied again",
                    "One of the table was truncated or rewritten on the source while there was no "
                    "snapshot, and its rows cannot be told from those of the others.");
    }
}

// After a crash of this server. While tables are copied, AcquireNewSnapshot() has them copied
// again.
void
Coordinator::WarnOfEmptiedTables() {
    if (migration_.stage <= Stage::kData || migration_.stage >= Stage::kDone) {
        return;
    }
    try {
        LookForEmptiedTables();
    } catch (const Error &error) {
        if (state_.stop.load() != 0) {
            throw StopRequested();
        }
        Event("warning", "unlogged tables could not be looked at: " + error.message(),
              "Whether a crash of the target has emptied them is not known.");
    }
}

void
Coordinator::LookForEmptiedTables() {
    pg::Transaction transaction;
    for (const CopyTable &table : EmptiedUnloggedTables(migration_.id)) {
        const std::string name = QualifiedName(table.schema, table.name);
        RecordEvent(migration_.id, "warning", migration_.stage,
                    "unlogged table " + name + " has no rows: a crash of the target emptied it",
                    "Its changes are not in the stream either. Take its rows along by other means, "
                    "with the source's writes stopped: COPY " +
                        name + " TO STDOUT there, COPY " + name + " FROM STDIN here.");
    }
    transaction.Commit();
}

void
Coordinator::ReleaseSnapshot() {
    snapshot_session_.reset();
    migration_.snapshot_name.clear();
    pg::Transaction transaction;
    control::SetSnapshot(migration_.id, Lsn{}, "");
    transaction.Commit();
}

} // namespace livemigrate::control
