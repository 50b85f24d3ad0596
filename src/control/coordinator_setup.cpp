// Stages preflight, slot, roles and schema.

#include "pg/prelude.hpp"

#include "control/coordinator.hpp"

#include "control/apply_origins.hpp"

#include "control/check_record.hpp"
#include "control/spool_identity.hpp"
#include "control/table_selection.hpp"
#include "control/source_blockers.hpp"
#include "control/source_leftovers.hpp"
#include "core/operator_text.hpp"
#include "core/retry_policy.hpp"
#include "core/sql_text.hpp"
#include "pg/extension_config.hpp"
#include "pg/guard.hpp"
#include "pg/sql_row.hpp"
#include "pg/background_worker.hpp"
#include "pg/transaction.hpp"
#include "pg/wait.hpp"
#include "source/catalog_query.hpp"
#include "source/partitions.hpp"
#include "source/table_columns.hpp"
#include "stage/copy.hpp"
#include "stage/database_settings.hpp"
#include "stage/distribution.hpp"
#include "stage/hypertable.hpp"
#include "stage/preflight.hpp"
#include "stage/roles.hpp"
#include "stage/schema.hpp"
#include "stage/schema_dump.hpp"

#include <algorithm>
#include <set>
#include <tuple>

namespace livemigrate::control {

namespace {

// The receiver takes some 100 ms to begin; apply, or the copy, waits for that.
constexpr std::chrono::milliseconds kStartPause{20};
// What migration_start has checked is not checked again for so long, in milliseconds.
constexpr int kCheckHolds = 10'000;

[[noreturn]] void
ThrowNameTaken(const std::string &migration, const std::string &what) {
    throw Error(sqlstate::kDuplicateObject, what)
        .Detail("It was made since the checks: by a migration of this name in another database, "
                "say.")
        .Hint("Give this migration another name: SELECT livemigrate.migration_abort(" +
              QuoteLiteral(migration) +
              "); and start it with migration => '...'; or, if it is left over, drop it.");
}

} // namespace

void
Coordinator::RunPreflightStage() {
    SetMessage("checking source and target");
    pg::Transaction transaction;
    // Not for an attempt behind a failure, nor for a coordinator that could not begin at once.
    const int64_t checked_at = std::exchange(checked_at_, 0);
    if (TimestampDifferenceExceeds(checked_at, GetCurrentTimestamp(), kCheckHolds)) {
        const stage::PreflightResult result = stage::RunPreflight(migration_.settings);
        stage::ThrowOnErrors(result);
        RecordPreflight(migration_, result);
    }
    transaction.Commit();
}

std::vector<CopyTable>
Coordinator::ListTables(source::Connection &source, source::TableSizes sizes) {
    const TableFilter filter = FilterOf(migration_.settings);
    const TableFilter without_data = DataExclusionOf(migration_.settings);
    std::vector<CopyTable> tables;
    for (const source::SourceTable &found : source::ListTables(source, sizes)) {
        if ((found.relkind != 'r' && found.relkind != 'p') ||
            !filter.Selects(found.schema, found.name)) {
            continue;
        }
        CopyTable table = CopyTableOf(found, static_cast<int32_t>(tables.size()) + 1);
        table.copy_data = found.relkind == 'r' && !without_data.Selects(found.schema, found.name) &&
                          (found.persistence != 'u' || migration_.settings.unlogged);
        table.is_extension_config = found.is_extension_config;
        table.row_condition = pg::WithoutWhere(found.extension_condition);
        table.state = table.copy_data ? "pending" : "skipped";
        tables.push_back(std::move(table));
    }
    return tables;
}

// Until their creation is sent, what bears the names is somebody else's: preflight has looked, but
// another database of this server, or another target, may have begun a migration of the same name
// since.
void
Coordinator::CheckNamesAreFree() {
    const std::string &name = migration_.origin_name;
    std::string taken;
    if (pg::Query("SELECT FROM pg_catalog.pg_replication_origin WHERE roname = $1", {name})
            .processed > 0) {
        taken = "replication origin \"" + name + "\" exists on the target";
    } else if (!migration_.settings.existing_slot) {
        source::Connection source =
            source::Connection::Open(migration_.settings.source, source::ConnectionKind::kSql);
        const std::string literal = QuoteLiteral(name);
        if (!migration_.slot_sent &&
            !source
                 .Query("SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = " + literal)
                 .rows.empty()) {
            taken = "replication slot \"" + name + "\" exists on the source";
        } else if (!migration_.publications_sent &&
                   !source
                        .Query("SELECT FROM pg_catalog.pg_publication WHERE pubname IN (" +
                               literal + ", " + QuoteLiteral(name + stage::kInsertsOnlySuffix) +
                               ")")
                        .rows.empty()) {
            taken = "publication \"" + name + "\" exists on the source";
        }
    }
    if (!taken.empty()) {
        ThrowNameTaken(migration_.settings.name, taken + " already");
    }
}

// The same, met by whoever came second between that look and now. What bears the names then is not
// this migration's, which must not remember it as its own: abort would drop it.
void
Coordinator::ForgetSlotPlan(const Error &taken) {
    {
        pg::Transaction transaction;
        DropOrigins(migration_);
        migration_.slot_name.clear();
        migration_.origin_name.clear();
        migration_.slot_created = false;
        migration_.slot_sent = false;
        migration_.publications_created = false;
        migration_.publications_sent = false;
        migration_.publications.clear();
        SetSlotPlan(migration_);
        transaction.Commit();
    }
    source::Connection source =
        source::Connection::Open(migration_.settings.source, source::ConnectionKind::kSql);
    for (const std::string &publication : publications_made_) {
        source.Query("DROP PUBLICATION IF EXISTS " + QuoteIdentifier(publication));
    }
    ThrowNameTaken(migration_.settings.name, taken.message());
}

void
Coordinator::RunSlotStage() {
    snapshot_session_.reset();
    migration_.origin_name = SlotName(migration_.settings.name);
    {
        pg::Transaction transaction;
        if (HasSlotPlan(migration_.id)) {
            DropOrigins(migration_);
        }
        CheckNamesAreFree();
        migration_.spool_token = MakeSpoolToken();
        SetSpoolToken(migration_.id, migration_.spool_token);
        // Names are in the catalog before the objects exist, so that whatever happens they can be
        // found and dropped.
        migration_.slot_name = migration_.settings.existing_slot.value_or(migration_.origin_name);
        migration_.slot_created = !migration_.settings.existing_slot;
        migration_.publications_created =
            migration_.plugin == Plugin::kPgoutput && !migration_.settings.publication;
        migration_.publications.clear();
        if (migration_.settings.publication) {
            migration_.publications = {*migration_.settings.publication};
        } else if (migration_.plugin == Plugin::kPgoutput) {
            migration_.publications = {migration_.origin_name};
        }
        SetSlotPlan(migration_);
        pg::Query("DELETE FROM livemigrate.copy_part WHERE migration = $1::int",
                  {std::to_string(migration_.id)});
        pg::Query("DELETE FROM livemigrate.table_copy WHERE migration = $1::int",
                  {std::to_string(migration_.id)});
        CreateOrigins(migration_);
        transaction.Commit();
    }
    receiver_wanted_ = false; // of an attempt before this one
    pool_.Stop(WorkerKind::kReceiver);
    directory_.Remove();
    directory_.Create();
    try {
        BeginToReceive();
    } catch (...) {
        // The stage begins anew: until then, or for ever, the session would keep locks and xmin.
        snapshot_session_.reset();
        throw;
    }
    Event("info", "changes are being buffered from " + migration_.snapshot_lsn.ToString());
    if (migration_.settings.existing_slot) {
        // follow alone: what lies between is there already.
        pg::Transaction transaction;
        EnterStage(migration_, Stage::kIndexes);
        transaction.Commit();
    }
}

void
Coordinator::BeginToReceive() {
    if (migration_.settings.existing_slot) {
        source::Connection source =
            source::Connection::Open(migration_.settings.source, source::ConnectionKind::kSql);
        UseExistingSlot(source);
    } else {
        MakeSlot();
    }
    PublishCopyFigures();
    receiver_wanted_ = true;
    pool_.Ensure(WorkerKind::kReceiver, 1);
    while (state_.received_lsn.load() == 0) {
        Tick("starting the receiver", kStartPause);
    }
}

void
Coordinator::UseExistingSlot(source::Connection &source) {
    source::ReplicationStream stream(
        source::Connection::Open(migration_.settings.source, source::ConnectionKind::kReplication));
    // Preflight has seen the timeline of the last checkpoint, or of a server that was the primary
    // then.
    migration_.source_timeline =
        stream.IdentifySource(migration_.source_system_identifier, migration_.source_timeline)
            .timeline;
    const pg::SqlResult slot =
        source.Query("SELECT confirmed_flush_lsn FROM pg_catalog.pg_replication_slots "
                     "WHERE slot_name = " +
                     QuoteLiteral(migration_.slot_name));
    if (slot.rows.empty()) {
        throw Error(sqlstate::kUndefinedObject,
                    "replication slot \"" + migration_.slot_name + "\" does not exist");
    }
    migration_.snapshot_lsn = pg::Position(slot.rows[0], 0);
    std::vector<CopyTable> tables = ListTables(source);
    for (CopyTable &table : tables) {
        // Not ours to copy; changes count unless the user left the table's rows out.
        table.state = "skipped";
    }
    const auto partitions = source::ListPartitions(source, WatchLocks(source, "listing tables"));
    pg::Transaction transaction;
    InsertTables(migration_.id, tables);
    InsertPartitions(migration_.id, partitions);
    SetSnapshot(migration_.id, migration_.snapshot_lsn, "");
    SetSourceTimeline(migration_.id, migration_.source_timeline, Lsn{});
    transaction.Commit();
}

source::CreatedSlot
Coordinator::CreateSlot(source::ReplicationStream &stream, source::Connection &monitor,
                        const std::vector<CopyTable> &published) {
    if (migration_.publications_created) {
        CreatePublications(monitor, published);
    }
    MarkSent(migration_.slot_sent);
    const auto began = std::chrono::steady_clock::now();
    return stream.CreateSlot(migration_.slot_name, *migration_.plugin, false, [&] {
        const std::string doing = "creating the replication slot";
        const std::optional<SourceBlockers> blockers = AskWhoBlocks(doing, FindBlockers);
        if (blockers) {
            SetMessage(doing + ": waiting for transactions on the source" + blockers->who,
                       "The slot is made as soon as they have ended." + blockers->command);
        }
        CheckRequests();
        CheckSlotTimeout(began, "the replication slot", blockers);
    });
}

void
Coordinator::MakeSlot() {
    SetMessage("creating the replication slot");
    source::Connection monitor =
        source::Connection::Open(migration_.settings.source, source::ConnectionKind::kSql);
    source::ReplicationStream stream(
        source::Connection::Open(migration_.settings.source, source::ConnectionKind::kReplication));
    stream.IdentifySource(migration_.source_system_identifier, migration_.source_timeline);
    const bool repeated = migration_.slot_sent || migration_.publications_sent;
    DropLeftovers(stream);
    const std::vector<CopyTable> published = ListTables(monitor, source::TableSizes::kAsCounted);
    source::CreatedSlot slot;
    publications_made_.clear();
    try {
        slot = CreateSlot(stream, monitor, published);
    } catch (const Error &error) {
        // The latter from two that make a publication at the same time.
        if (repeated || (error.sqlstate() != sqlstate::kDuplicateObject &&
                         error.sqlstate() != sqlstate::kUniqueViolation)) {
            throw;
        }
        ForgetSlotPlan(error);
    }
    HoldSnapshot(slot.snapshot);
    // Not before: the connection's next command ends the exported snapshot.
    const uint32_t timeline = stream.IdentifySystem().timeline;
    std::vector<CopyTable> tables = ListTables(*snapshot_session_);
    LockTables(tables);
    // As the snapshot sees them, like the rows.
    const source::ColumnsByTable columns = source::ListColumns(*snapshot_session_);
    const auto partitions = source::ListPartitions(
        *snapshot_session_, WatchLocks(*snapshot_session_, "listing tables"));
    std::set<std::tuple<uint32_t, std::string, std::string, bool>> known;
    for (const CopyTable &table : published) {
        known.emplace(table.source_oid, table.schema, table.name, table.identity_usable);
    }
    for (const CopyTable &table : tables) {
        if (migration_.publications_created &&
            !known.contains({table.source_oid, table.schema, table.name, table.identity_usable})) {
            throw Error(sqlstate::kObjectInUse, "table " + QualifiedName(table.schema, table.name) +
                                                    " was created while the slot was being made");
        }
    }
    migration_.snapshot_lsn = slot.consistent_point;
    migration_.source_timeline = timeline;
    pg::Transaction transaction;
    InsertTables(migration_.id, tables);
    InsertPartitions(migration_.id, partitions);
    SetColumnsToCopy(migration_.id, columns);
    SetSnapshot(migration_.id, migration_.snapshot_lsn, migration_.snapshot_name);
    SetTablesSnapshot(migration_.id, migration_.snapshot_lsn);
    SetSourceTimeline(migration_.id, migration_.source_timeline, Lsn{});
    RecordEvent(migration_.id, "info", migration_.stage,
                "slot " + migration_.slot_name + " created at " +
                    migration_.snapshot_lsn.ToString());
    transaction.Commit();
    if (migration_.publications_created) {
        RememberPublications(
            stage::ReadPublications(*snapshot_session_, AboutPublications(tables)));
    }
}

// Durable before it is sent, so that whatever happens it can be found and dropped; and not earlier,
// because until then the names are anybody's.
void
Coordinator::MarkSent(bool &sent) {
    sent = true;
    pg::Transaction transaction;
    SetSlotPlan(migration_);
    transaction.Commit();
}

// What an earlier attempt of this stage left on the source.
void
Coordinator::DropLeftovers(source::ReplicationStream &stream) {
    RemoveLeftovers(stream.connection(), migration_, [&] { CheckRequests(); });
    migration_.slot_sent = false;
    migration_.publications_sent = false;
    pg::Transaction transaction;
    SetSlotPlan(migration_);
    transaction.Commit();
}

void
Coordinator::RunRolesStage() {
    if (!migration_.settings.roles) {
        return;
    }
    SetMessage("copying roles");
    source::Connection source =
        source::Connection::Open(migration_.settings.source, source::ConnectionKind::kSql);
    pg::Transaction transaction;
    const stage::RolesReport report = stage::CopyRoles(source);
    RecordEvent(migration_.id, "info", migration_.stage,
                Counted(static_cast<uint64_t>(report.created), "role") + " created");
    for (const std::string &note : report.notes) {
        RecordEvent(migration_.id, "notice", migration_.stage, note);
    }
    transaction.Commit();
}

// Tables left out, and views that read them: pg_dump would dump those and their restore fail.
std::vector<std::pair<std::string, std::string>>
Coordinator::ExcludedRelations() {
    const TableFilter filter = FilterOf(migration_.settings);
    std::string oids;
    std::vector<std::pair<std::string, std::string>> excluded;
    const auto judge = [&](uint32_t oid, const std::string &schema, const std::string &name) {
        if (!filter.Selects(schema, name)) {
            excluded.emplace_back(schema, name);
            oids += (oids.empty() ? "" : ",") + std::to_string(oid);
        }
    };
    for (const source::SourceTable &table :
         source::ListTables(*snapshot_session_, source::TableSizes::kAsCounted)) {
        judge(table.oid, table.schema, table.name);
    }
    for (const source::SourceRelation &relation : source::ListOtherRelations(*snapshot_session_)) {
        if (relation.relkind == 'f') {
            judge(relation.oid, relation.schema, relation.name);
        }
    }
    if (oids.empty()) {
        return excluded;
    }
    const pg::SqlResult views = snapshot_session_->Query(
        "WITH RECURSIVE out(oid) AS (SELECT c.oid FROM pg_catalog.pg_class c WHERE c.oid IN (" +
        oids +
        ") UNION SELECT r.ev_class FROM out o JOIN pg_catalog.pg_depend d ON d.refobjid = o.oid "
        "AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass "
        "AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass "
        "JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid "
        "JOIN pg_catalog.pg_class v ON v.oid = r.ev_class AND v.relkind IN ('v', 'm')) "
        "SELECT n.nspname, c.relname FROM out o JOIN pg_catalog.pg_class c ON c.oid = o.oid "
        "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('v', 'm')");
    for (const pg::SqlRow &row : views.rows) {
        excluded.emplace_back(pg::Text(row, 0), pg::Text(row, 1));
        Event("notice", "view " + QualifiedName(pg::Text(row, 0), pg::Text(row, 1)) +
                            " is left out: it reads a table that is not migrated");
    }
    return excluded;
}

// As they are now, before anybody makes the source read-only for the cutover.
void
Coordinator::CopyDatabaseSettings() {
    SetMessage("copying settings of the database");
    source::Connection source =
        source::Connection::Open(migration_.settings.source, source::ConnectionKind::kSql);
    pg::Transaction transaction;
    const stage::DatabaseSettingsReport report = stage::CopyDatabaseSettings(source);
    RecordEvent(migration_.id, "info", migration_.stage,
                Counted(static_cast<uint64_t>(report.set), "setting") + " of the database set");
    for (const std::string &note : report.notes) {
        RecordEvent(migration_.id, "warning", migration_.stage, note);
    }
    transaction.Commit();
}

// A statement that waits for our lock on a table holds up pg_dump's, and waits itself until the
// tables are copied.
void
Coordinator::DumpSchema() {
    const std::string doing = "dumping the schema";
    SetMessage(doing);
    const auto show_holders = [&] {
        KeepReceiving();
        const std::optional<SourceBlockers> holders = AskWhoBlocks(doing, FindHoldersOfOurLocks);
        if (holders && holders->who.empty()) {
            SetMessage(doing);
        } else if (holders) {
            SetMessage(doing + ": waiting for locks on the source's tables" + holders->who,
                       "The migration goes on as soon as they are released." + holders->command);
        }
        CheckRequests();
    };
    try {
        stage::DumpSchema(migration_.settings, migration_.source_version, migration_.snapshot_name,
                          ExcludedRelations(), directory_.dump(), show_holders);
    } catch (const Error &error) {
        if (IsTransient(error.sqlstate()) || snapshot_session_->IsAlive()) {
            throw;
        }
        throw Error(sqlstate::kConnectionFailure, "the source's snapshot was lost")
            .Detail(error.detail());
    }
    CheckRequests();
}

void
Coordinator::RunSchemaStage() {
    if (migration_.settings.database_settings) {
        CopyDatabaseSettings();
    }
    if (migration_.settings.on_existing != OnExisting::kError) {
        return;
    }
    // It was restored in one transaction with the mark that says so: a crash behind that must not
    // restore it again.
    if (!migration_.schema_restored) {
        RestoreSchema();
    }
    DistributeTables();
}

void
Coordinator::RestoreSchema() {
    EnsureSnapshot();
    DumpSchema();
    const std::string sql = stage::RestoreText(migration_.settings, migration_.source_version,
                                               directory_.dump(), stage::DumpSection::kPreData);
    SetMessage("creating the schema");
    pg::SetConfig("session_replication_role", "replica");
    pg::Transaction transaction;
    const stage::SchemaReport report = stage::ExecuteSchema(sql);
    stage::CreateHypertables(migration_.settings.hypertables);
    MarkSchemaRestored(migration_.id);
    RecordEvent(migration_.id, "info", migration_.stage,
                Counted(static_cast<uint64_t>(report.statements), "statement") + " executed");
    for (const std::string &note : report.notes) {
        RecordEvent(migration_.id, "notice", migration_.stage, note);
    }
    transaction.Commit();
    migration_.schema_restored = true;
    pg::PinSessionSettings();
}

// Each in a transaction of its own, as Citus's nodes commit what they have made of it together.
void
Coordinator::DistributeTables() {
    // A copy: CheckRequests() reads migration_ anew.
    const std::vector<DistributionOption> options = migration_.settings.distributions;
    for (const DistributionOption &option : options) {
        const std::string name = QualifiedName(option.schema, option.table);
        SetMessage((option.is_reference() ? "making a reference table of " : "distributing ") +
                   name);
        CheckRequests();
        pg::Transaction transaction;
        const stage::Placed placed = stage::Distribute(option);
        const std::string wanted = option.is_reference()
                                       ? "a reference table"
                                       : "distributed by " + QuoteIdentifier(option.column);
        if (placed == stage::Placed::kNow) {
            RecordEvent(migration_.id, "info", migration_.stage,
                        "table " + name + (option.is_reference() ? " made " : " ") + wanted);
        } else if (placed == stage::Placed::kOtherwise) {
            RecordEvent(migration_.id, "warning", migration_.stage,
                        "table " + name + " is not " + wanted +
                            ": Citus keeps it otherwise already",
                        "SELECT pg_catalog.undistribute_table(" + QuoteLiteral(name) +
                            "); and what the options say, in a pause after stage schema.");
        }
        transaction.Commit();
    }
}

} // namespace livemigrate::control
