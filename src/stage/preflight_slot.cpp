// Checks of the change stream's ends on the source: replication connection, slot, publication.
#include "pg/prelude.hpp"

#include "stage/preflight_run.hpp"

#include "core/access_fix.hpp"
#include "core/output_plugin.hpp"
#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"
#include "source/replication_stream.hpp"

#include <set>
#include <utility>

namespace livemigrate::stage {

namespace {

std::string
ConnectionFix(const PreflightRun &run, const Error &error) {
    if (IsAboutAccess(error.detail())) {
        const source::SourceInfo &info = run.info();
        return AccessFix(run.ways.provider, error.detail(),
                         {info.database, info.role, info.client_address, {}});
    }
    return Comment(error.hint().empty() ? "see the source's server log" : error.hint());
}

void
FailExistingSlot(PreflightRun &run, std::string_view sqlstate, const std::string &problem,
                 const std::string &fix) {
    const std::string slot = QuoteIdentifier(*run.settings.existing_slot);
    run.Fail("existing_slot", sqlstate, slot, "replication slot " + slot + " " + problem, fix);
}

// One reason why we cannot take changes from the slot, as a row; false when there is none.
bool
RefuseExistingSlot(PreflightRun &run, const pg::SqlRow &row) {
    const std::string drop = "SELECT pg_drop_replication_slot(" +
                             QuoteLiteral(*run.settings.existing_slot) +
                             ");\n-- then start a migration with a slot of its own";
    const std::string plugin = pg::Text(row, 1);
    const std::string pid = pg::Text(row, 4);
    if (pg::Text(row, 0) != "logical") {
        FailExistingSlot(run, sqlstate::kObjectNotInPrerequisiteState, "is not a logical slot",
                         "-- name a logical slot");
    } else if (pg::Text(row, 2) != run.info().database) {
        FailExistingSlot(
            run, sqlstate::kObjectNotInPrerequisiteState,
            "belongs to database " + QuoteIdentifier(pg::Text(row, 2)),
            Comment("name a slot of database " + QuoteIdentifier(run.info().database)));
    } else if (plugin != "pgoutput" && plugin != "wal2json") {
        FailExistingSlot(run, sqlstate::kFeatureNotSupported,
                         "uses output plugin " + QuoteIdentifier(plugin),
                         "-- name a slot of pgoutput or wal2json");
    } else if (run.settings.requested_plugin != "auto" && run.settings.requested_plugin != plugin) {
        FailExistingSlot(run, sqlstate::kInvalidParameterValue,
                         "uses " + plugin + ", not " + run.settings.requested_plugin,
                         "-- plugin => " + QuoteLiteral(plugin));
    } else if (pg::Flag(row, 7)) { // and active, for the session that made it
        FailExistingSlot(run, sqlstate::kFeatureNotSupported, "is temporary",
                         "-- name a permanent slot");
    } else if (pg::Flag(row, 3)) {
        FailExistingSlot(run, sqlstate::kObjectInUse, "is active for process " + pid,
                         "SELECT pg_terminate_backend(" + pid + ");");
    } else if (pg::Text(row, 5) == "lost") {
        FailExistingSlot(run, sqlstate::kObjectNotInPrerequisiteState, "has lost WAL that it needs",
                         drop);
    } else if (pg::Flag(row, 6)) {
        FailExistingSlot(run, sqlstate::kFeatureNotSupported,
                         "sends prepared transactions before they are committed (two_phase)", drop);
    } else {
        return false;
    }
    return true;
}

void
CheckExistingSlot(PreflightRun &run) {
    const std::string &name = *run.settings.existing_slot;
    // Columns that later versions added are read through jsonb, where a missing one is NULL.
    const pg::SqlResult found = run.source.Query(
        "SELECT s.slot_type, s.plugin, s.database, s.active, s.active_pid,"
        "       pg_catalog.to_jsonb(s) ->> 'wal_status',"
        "       COALESCE((pg_catalog.to_jsonb(s) ->> 'two_phase')::bool, false), s.temporary"
        " FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = $1::text",
        {name});
    if (found.rows.empty()) {
        FailExistingSlot(run, sqlstate::kUndefinedObject, "does not exist on the source",
                         "SELECT pg_create_logical_replication_slot(" + QuoteLiteral(name) +
                             ", 'pgoutput');\n-- only when the target's data is as of then");
        return;
    }
    const pg::SqlRow &row = found.rows[0];
    if (!RefuseExistingSlot(run, row)) {
        run.result.plugin = ParsePlugin(pg::Text(row, 1));
        run.Ok("existing_slot", QuoteIdentifier(name),
               "can be used; its plugin is " + pg::Text(row, 1));
    }
}

void
CheckNewSlot(PreflightRun &run) {
    const std::string slot = SlotName(run.settings.name);
    const pg::SqlResult found =
        run.source.Query("SELECT active_pid FROM pg_catalog.pg_replication_slots"
                         " WHERE slot_name = $1::text",
                         {slot});
    if (found.rows.empty()) {
        run.Ok("slot_exists", QuoteIdentifier(slot), "the source has no slot of this name yet");
        return;
    }
    if (found.rows[0][0]) {
        run.Fail("slot_exists", sqlstate::kDuplicateObject, QuoteIdentifier(slot),
                 "the source has a replication slot " + QuoteIdentifier(slot) +
                     ", in use by its process " + pg::Text(found.rows[0], 0),
                 "-- another migration of this name is running: give this one another name");
        return;
    }
    run.Fail("slot_exists", sqlstate::kDuplicateObject, QuoteIdentifier(slot),
             "the source has a replication slot " + QuoteIdentifier(slot) + " already",
             "SELECT pg_drop_replication_slot(" + QuoteLiteral(slot) + ");");
}

// A change is judged by the publication as it was then: what is made or altered now leaves changes
// out that the slot has still to send. Whether it was altered behind the slot cannot be seen: a new
// slot's catalog_xmin is as old as that of the oldest other one.
std::string
PublicationFix(const PreflightRun &run, const std::string &sql) {
    return run.settings.existing_slot
               ? Comment(sql +
                         " -- and then make the slot anew, and bring schema and data as of it")
               : sql;
}

// A publication of the operator's must send what our own would.
void
CheckPublishedTables(PreflightRun &run, const std::string &name) {
    const pg::SqlResult published =
        run.source.Query("SELECT schemaname, tablename FROM pg_catalog.pg_publication_tables"
                         " WHERE pubname = $1::text",
                         {name});
    std::set<std::pair<std::string, std::string>> names;
    for (const pg::SqlRow &row : published.rows) {
        names.emplace(pg::Text(row, 0), pg::Text(row, 1));
    }
    std::vector<std::string> missing;
    for (const source::SourceTable &table : run.result.tables) {
        if (run.HasData(table) && table.persistence == 'p' &&
            !names.contains({table.schema, table.name})) {
            missing.push_back(TableName(table));
        }
    }
    if (!missing.empty()) {
        run.Fail("publication", sqlstate::kObjectNotInPrerequisiteState, QuoteIdentifier(name),
                 "publication " + QuoteIdentifier(name) + " lacks " +
                     Count(missing.size(), "selected table") + ": " + ListNames(missing),
                 PublicationFix(run, "ALTER PUBLICATION " + QuoteIdentifier(name) + " ADD TABLE " +
                                         ListNames(missing, missing.size()) + ";"));
    }
}

void
CheckGivenPublication(PreflightRun &run, const std::string &name) {
    const pg::SqlResult found = run.source.Query(
        "SELECT pubinsert AND pubupdate AND pubdelete"
        "       AND COALESCE((pg_catalog.to_jsonb(p) ->> 'pubtruncate')::bool, true),"
        "       COALESCE((pg_catalog.to_jsonb(p) ->> 'pubviaroot')::bool, false),"
        "       EXISTS (SELECT FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid"
        "               AND (pg_catalog.to_jsonb(r) ->> 'prqual' IS NOT NULL"
        "                    OR pg_catalog.to_jsonb(r) ->> 'prattrs' IS NOT NULL))"
        " FROM pg_catalog.pg_publication p WHERE pubname = $1::text",
        {name});
    const std::string quoted = QuoteIdentifier(name);
    if (found.rows.empty()) {
        run.Fail("publication", sqlstate::kUndefinedObject, quoted,
                 "publication " + quoted + " does not exist on the source",
                 PublicationFix(run, "CREATE PUBLICATION " + quoted + " FOR ALL TABLES;"));
        return;
    }
    if (!pg::Flag(found.rows[0], 0)) {
        run.Fail("publication", sqlstate::kObjectNotInPrerequisiteState, quoted,
                 "publication " + quoted + " does not send every kind of change",
                 PublicationFix(run, "ALTER PUBLICATION " + quoted +
                                         " SET (publish = 'insert, update, delete, truncate');"));
    }
    if (pg::Flag(found.rows[0], 1)) {
        run.Fail("publication", sqlstate::kObjectNotInPrerequisiteState, quoted,
                 "publication " + quoted + " sends changes of partitions as the root's",
                 PublicationFix(run, "ALTER PUBLICATION " + quoted +
                                         " SET (publish_via_partition_root = false);"));
    }
    if (pg::Flag(found.rows[0], 2)) {
        run.Fail("publication", sqlstate::kObjectNotInPrerequisiteState, quoted,
                 "publication " + quoted + " has a row filter or a column list",
                 "-- name a publication that sends whole tables");
    }
    CheckPublishedTables(run, name);
    if (!run.Failed("publication")) {
        run.Ok("publication", quoted, "sends all changes of the selected tables");
    }
}

// "livemigrate_<migration>", and the same with a suffix for tables that only send inserts.
void
CheckOwnPublication(PreflightRun &run) {
    const std::string slot = SlotName(run.settings.name);
    const pg::SqlResult found =
        run.source.Query("SELECT pubname FROM pg_catalog.pg_publication"
                         " WHERE pubname IN ($1::text, $1::text || '_insert') ORDER BY pubname",
                         {slot});
    std::vector<std::string> names;
    for (const pg::SqlRow &row : found.rows) {
        names.push_back(QuoteIdentifier(pg::Text(row, 0)));
    }
    if (names.empty()) {
        run.Ok("publication", QuoteIdentifier(slot),
               "the source has no publication of this name yet");
        return;
    }
    run.Fail("publication", sqlstate::kDuplicateObject, names[0],
             "the source has a publication " + names[0] + " already",
             "DROP PUBLICATION " + ListNames(names) + ";");
}

} // namespace

// The SQL connection got through already, so what fails here is about replication alone.
void
CheckReplicationConnection(PreflightRun &run) {
    if (run.Failed("replication_role") || run.Failed("wal_senders")) {
        return; // it would fail for the reason that is told already
    }
    try {
        source::ReplicationStream stream(
            source::Connection::Open(run.settings.source, source::ConnectionKind::kReplication));
        const source::SystemIdentity identity = stream.IdentifySystem();
        if (identity.system_identifier != run.info().system_identifier) {
            run.Fail("replication_connection", sqlstate::kObjectNotInPrerequisiteState, "source",
                     "two connections to the source lead to two different servers",
                     "-- give the address of one server, not of a pooler or several hosts");
            return;
        }
        run.result.source.timeline = identity.timeline;
        run.replication = std::move(stream.connection());
        run.Ok("replication_connection", "source", "the source takes replication connections");
    } catch (const Error &error) {
        if (error.sqlstate() == sqlstate::kQueryCanceled) {
            throw;
        }
        run.Fail("replication_connection", error.sqlstate(), "source",
                 "the source refuses a replication connection: " +
                     (error.detail().empty() ? error.message() : error.detail()),
                 ConnectionFix(run, error));
    }
}

void
CheckSlot(PreflightRun &run) {
    if (run.settings.existing_slot) {
        CheckExistingSlot(run);
    } else {
        CheckNewSlot(run);
    }
}

void
CheckPublication(PreflightRun &run) {
    if (run.result.plugin != Plugin::kPgoutput || run.Failed("existing_slot")) {
        return;
    }
    if (run.settings.publication) {
        CheckGivenPublication(run, *run.settings.publication);
    } else if (run.settings.existing_slot) {
        // A publication made now would not be there yet where the slot's changes begin.
        run.Fail("publication", sqlstate::kInvalidParameterValue,
                 QuoteIdentifier(*run.settings.existing_slot),
                 "a slot of pgoutput needs option \"publication\" too",
                 "-- options => '{\"existing_slot\": ..., \"publication\": ...}'");
    } else {
        CheckOwnPublication(run);
    }
}

} // namespace livemigrate::stage
