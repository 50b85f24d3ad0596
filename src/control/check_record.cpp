#include "pg/prelude.hpp"

#include "control/check_record.hpp"

#include "control/cutover_readiness.hpp"
#include "control/spool_identity.hpp"
#include "control/work_directory.hpp"
#include "stage/cutover_check.hpp"

#include <utility>

namespace livemigrate::control {

std::vector<stage::CheckRow>
CheckCutover(const Migration &migration, std::optional<std::chrono::milliseconds> limit,
             bool thorough, const source::WaitObserver &waiting) {
    stage::CutoverCheckSettings settings;
    settings.conninfo = migration.settings.source;
    settings.system_identifier = migration.source_system_identifier;
    settings.call = NamedHint(migration.id, "SELECT * FROM livemigrate.cutover_check();");
    settings.limit = limit;
    settings.waiting = waiting;
    settings.before_cutover = migration.stage < Stage::kCutover;
    Readiness readiness = CheckReadiness(migration, thorough);
    settings.seconds_behind = readiness.seconds_behind;
    for (const CopyTable &table : LoadTables(migration.id)) {
        settings.tables.emplace_back(table.schema, table.name);
    }
    if (migration.stage >= Stage::kCutover && migration.endpos.valid() && !migration.cleaned_up) {
        settings.endpos = migration.endpos;
        settings.stream.spool_directory = WorkDirectory(MyDatabaseId, migration.id).spool();
        settings.stream.spool_identity = IdentityOf(migration);
        settings.stream.slot = migration.slot_name;
        settings.stream.plugin = *migration.plugin;
        settings.stream.publications = migration.publications;
        settings.stream.wal2json_numeric_option = migration.wal2json_numeric_option;
        settings.stream.source_encoding = migration.source_encoding;
    }
    std::vector<stage::CheckRow> rows = std::move(readiness.rows);
    for (stage::CheckRow &row : stage::CheckCutover(settings)) {
        rows.push_back(std::move(row));
    }
    return rows;
}

void
RecordChecks(int32_t id, Stage stage, const std::vector<stage::CheckRow> &rows) {
    std::vector<std::vector<std::string>> kept;
    for (const stage::CheckRow &row : rows) {
        kept.push_back({row.check_id, row.severity, row.object, row.message, row.fix});
        if (row.severity == "warning" || row.severity == "notice") {
            const bool named = stage == Stage::kCutover && !row.object.empty();
            RecordEvent(id, row.severity.c_str(), stage,
                        (named ? row.object + ": " : "") + row.message, row.fix);
        }
    }
    KeepChecks(id, stage, kept);
}

void
RecordPreflight(Migration &migration, const stage::PreflightResult &result) {
    migration.plugin = result.plugin;
    migration.wal2json_numeric_option = result.wal2json_numeric_option;
    migration.source_system_identifier = result.source.system_identifier;
    migration.source_timeline = result.source.timeline;
    migration.source_recovery_mark = result.source.recovery_mark;
    migration.source_version = result.source.version_num;
    migration.source_encoding = result.source.encoding;
    migration.source_database = result.source.database;
    SetSourceIdentity(migration);
    RecordEvent(migration.id, "info", Stage::kPreflight,
                "output plugin is " + std::string(PluginName(result.plugin)), result.plugin_reason);
    RecordChecks(migration.id, Stage::kPreflight, result.rows);
}

} // namespace livemigrate::control
