// The source's snapshot under which tables are copied: taken with the slot, and anew when it is
// lost.

#include "pg/prelude.hpp"

#include "control/coordinator.hpp"

#include "control/source_blockers.hpp"
#include "control/table_selection.hpp"
#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"
#include "pg/table_manager.hpp"
#include "pg/transaction.hpp"
#include "pg/truncation.hpp"
#include "stage/copy.hpp"
#include "stage/source_lock.hpp"

namespace livemigrate::control {

// Takes over an exported snapshot into a session of its own and exports it again from there.
void
Coordinator::HoldSnapshot(const std::string &exported) {
    snapshot_session_.emplace(stage::OpenSnapshotSession(migration_.settings.source, exported));
    const pg::SqlResult again = snapshot_session_->Query("SELECT pg_catalog.pg_export_snapshot()");
    migration_.snapshot_name = again.Scalar().value_or("");
    // At once: whoever waits from here on reads the migration's row again.
    pg::Transaction transaction;
    control::SetSnapshot(migration_.id, Lsn{}, migration_.snapshot_name);
    transaction.Commit();
}

void
Coordinator::ShowLockHolders(int waiting_pid) {
    const SourceBlockers holders = FindLockHolders(migration_.settings.source, waiting_pid);
    SetMessage("waiting for locks on the source's tables" + holders.who,
               "The migration goes on as soon as they are released." + holders.command);
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
}

// In waits that do not tick.
void
Coordinator::KeepReceiving() {
    if (receiver_wanted_) {
        pool_.Supervise();
        pool_.Ensure(WorkerKind::kReceiver, 1);
    }
}

// Tables under another snapshot would have what the rest of the migration leaves out.
void
Coordinator::CheckBeforeEndpos(Lsn consistent_point) {
    Reload();
    if (migration_.endpos.valid() && migration_.endpos < consistent_point) {
        throw Error(sqlstate::kObjectNotInPrerequisiteState,
                    "the snapshot for the remaining tables, at " + consistent_point.ToString() +
                        ", lies behind endpos " + migration_.endpos.ToString())
            .Hint("SELECT livemigrate.set_endpos(); SELECT livemigrate.migration_resume();");
    }
}

void
Coordinator::AcquireNewSnapshot() {
    SetMessage("taking a new snapshot on the source");
    source::Connection monitor =
        source::Connection::Open(migration_.settings.source, source::ConnectionKind::kSql);
    source::ReplicationStream stream(
        source::Connection::Open(migration_.settings.source, source::ConnectionKind::kReplication));
    const std::string slot =
        SlotName(migration_.settings.name).substr(0, 40) + "_s" + std::to_string(MyProcPid);
    const source::CreatedSlot made = stream.CreateSlot(slot, *migration_.plugin, true, [&] {
        KeepReceiving();
        const SourceBlockers blockers = FindBlockers(monitor);
        SetMessage("taking a new snapshot on the source: waiting for transactions there" +
                       blockers.who,
                   "The snapshot is taken as soon as they have ended." + blockers.command);
        CheckRequests();
    });
    CheckBeforeEndpos(made.consistent_point);
    HoldSnapshot(made.snapshot);
    std::vector<CopyTable> tables;
    {
        pg::Transaction transaction;
        tables = LoadTables(migration_.id);
        transaction.Commit();
    }
    LockTables(tables);
    pg::Transaction transaction;
    for (const CopyTable &table : tables) {
        // Rows of parts that were complete belong to the old snapshot. A table in one part empties
        // itself when it is copied; others are emptied here.
        if (table.state == "copying" && table.parts > 1) {
            pg::EmptyTable(pg::TableOid(table.schema, table.name));
        }
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
    control::SetSnapshot(migration_.id, Lsn{}, migration_.snapshot_name);
    RecordEvent(migration_.id, "warning", migration_.stage,
                "a new snapshot was taken at " + made.consistent_point.ToString(),
                "Tables that were complete keep their data; the others are copied under it.");
    transaction.Commit();
}

// After a crash of this server. While tables are copied, AcquireNewSnapshot() has them copied
// again.
void
Coordinator::WarnOfEmptiedTables() {
    if (migration_.stage <= Stage::kData || migration_.stage >= Stage::kDone) {
        return;
    }
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
