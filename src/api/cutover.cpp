// cutover_check and copy_large_objects.

#include "pg/prelude.hpp"

#include "api/arguments.hpp"
#include "api/cutover_ready.hpp"
#include "api/migration_owner.hpp"
#include "api/named_migration.hpp"
#include "api/sql_function.hpp"
#include "control/check_record.hpp"
#include "core/operator_text.hpp"
#include "pg/guc.hpp"
#include "source/catalog_query.hpp"
#include "source/connection.hpp"
#include "stage/large_object_difference.hpp"
#include "stage/large_object_rights.hpp"
#include "stage/large_objects.hpp"

namespace livemigrate::api {

namespace {

using control::Migration;

void
CheckIsCopied(const Migration &migration) {
    if (migration.stage <= Stage::kIndexes && !HasEnded(migration.state)) {
        throw Error(sqlstate::kObjectNotInPrerequisiteState,
                    "the migration's data and indexes are not on the target yet")
            .Hint(control::NamedHint(migration.id, "CALL livemigrate.migration_wait('indexes');"));
    }
}

Datum
CutoverCheck(FunctionCallInfo fcinfo) {
    const Migration migration = FindNamed(TextArgument(fcinfo, 0));
    CheckIsCopied(migration);
    const std::vector<stage::CheckRow> found = control::CheckCutover(migration, std::nullopt, true);
    if (migration.stage >= Stage::kCutover && !XactReadOnly) {
        control::RecordChecks(migration.id, Stage::kCutover, found);
    }
    std::vector<std::vector<pg::SqlValue>> rows;
    for (const stage::CheckRow &row : found) {
        const auto text = [](const std::string &value) {
            return value.empty() ? std::nullopt : pg::SqlValue(value);
        };
        rows.push_back({row.check_id, row.severity, text(row.object), row.message, text(row.fix)});
    }
    return ReturnRows(fcinfo, rows);
}

Datum
CopyLargeObjects(FunctionCallInfo fcinfo) {
    const Migration migration = LoadNamed(TextArgument(fcinfo, 0), true);
    CheckIsCopied(migration);
    source::Connection source =
        source::Connection::Open(migration.settings.source, source::ConnectionKind::kSql);
    source::CheckSameServer(
        source, migration.source_system_identifier,
        control::NamedHint(migration.id, "SELECT livemigrate.copy_large_objects();"));
    source.Query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    const auto difference = stage::CompareLargeObjects(source, std::nullopt);
    uint64_t copied = 0;
    for (const std::vector<uint32_t> *oids : {&difference->missing, &difference->changed}) {
        for (const uint32_t oid : *oids) {
            copied += stage::CopyLargeObjects(source, oid, oid, {}, true).objects;
            stage::CopyLargeObjectRights(source, oid, oid,
                                         {migration.settings.owner, migration.settings.privileges});
        }
    }
    control::RecordEvent(migration.id, "info", migration.stage,
                         Counted(copied, "large object") + " copied again", ByCaller());
    return Int64GetDatum(static_cast<int64>(copied));
}

} // namespace

void
RefuseUnlessReady(const Migration &migration) {
    CheckIsCopied(migration);
    std::string reasons;
    for (const stage::CheckRow &row :
         control::CheckCutover(migration, pg::CutoverCheckLimit(), true)) {
        if (row.severity == "warning") {
            reasons += (reasons.empty() ? "" : "\n") + row.check_id +
                       (row.object.empty() ? "" : " (" + row.object + ")") + ": " + row.message;
        }
    }
    if (!reasons.empty()) {
        throw Error(sqlstate::kObjectNotInPrerequisiteState,
                    "the migration is not ready for its cutover")
            .Detail(reasons)
            .Hint(control::NamedHint(
                migration.id, "SELECT check_id, object, fix FROM livemigrate.cutover_check() WHERE "
                              "severity = 'warning'; -- or, knowing that: SELECT "
                              "livemigrate.set_endpos(force => true);"));
    }
}

} // namespace livemigrate::api

LIVEMIGRATE_FUNCTION(livemigrate_cutover_check, CutoverCheck)
LIVEMIGRATE_FUNCTION(livemigrate_copy_large_objects, CopyLargeObjects)
