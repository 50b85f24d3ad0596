// Checks of the target server: its limits, and what the caller may do there.
#include "pg/prelude.hpp"

#include "stage/preflight_run.hpp"

#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/sql_row.hpp"

#include <algorithm>

namespace livemigrate::stage {

namespace {

// Coordinator, receiver, and one that copies, builds or applies.
constexpr int kFewestWorkers = 3;
constexpr int kWorkersBesidesJobs = 2;
constexpr int kSpareWorkers = 2;

// A CREATE TABLE locks the table, its TOAST table, that one's index, its type; some have sequences.
constexpr int64_t kLocksPerTable = 4;

void
CheckRecovery(PreflightRun &run) {
    if (RecoveryInProgress()) {
        run.Fail("target_recovery", sqlstate::kObjectNotInPrerequisiteState, "target",
                 "the target is a standby", "-- call this on its primary");
    } else {
        run.Ok("target_recovery", "target", "the target accepts writes");
    }
}

// Background workers of others, as far as they can be seen; parallel workers come and go.
int
CountForeignWorkers() {
    const pg::SqlResult used = pg::Query(
        "SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity"
        " WHERE pid <> pg_catalog.pg_backend_pid() AND backend_type NOT IN"
        " ('client backend', 'walsender', 'autovacuum launcher', 'autovacuum worker',"
        "  'checkpointer', 'background writer', 'walwriter', 'startup', 'archiver', 'walreceiver',"
        "  'logger', 'slotsync worker', 'walsummarizer', 'io worker', 'standalone backend',"
        "  'parallel worker')");
    return pg::Number<int>(used.rows.at(0), 0);
}

void
CheckWorkers(PreflightRun &run) {
    const int used = CountForeignWorkers();
    const int free = std::max(max_worker_processes - used, 0);
    const int jobs =
        std::max({run.settings.table_jobs, run.settings.index_jobs, run.settings.apply_jobs});
    // Jobs take turns where there are fewer workers, but those that apply wait for one another.
    const int fewest = kFewestWorkers + run.settings.apply_jobs - 1;
    const std::string text = std::to_string(used) + " of " + std::to_string(max_worker_processes) +
                             " background workers of the target are in use";
    const std::string fix =
        SetAndRestart("max_worker_processes",
                      std::to_string(used + kWorkersBesidesJobs + jobs + kSpareWorkers), "target");
    if (free < fewest) {
        run.Fail("target_workers", sqlstate::kConfigurationLimitExceeded, "target",
                 text + ", a migration needs at least " + std::to_string(fewest), fix);
    } else if (free < kWorkersBesidesJobs + jobs) {
        run.Notice("target_workers", "target",
                   text + ": " + std::to_string(free - kWorkersBesidesJobs) + " of " +
                       std::to_string(jobs) + " jobs will run at a time",
                   fix);
    } else {
        run.Ok("target_workers", "target", text);
    }
}

void
CheckOrigins(PreflightRun &run) {
    const char *name = pg::OriginLimitSetting();
    const pg::SqlResult found =
        pg::Query("SELECT pg_catalog.current_setting($1), (SELECT pg_catalog.count(*) FROM "
                  "pg_catalog.pg_replication_origin)",
                  {name});
    const std::string limit = pg::Text(found.rows.at(0), 0);
    const int needed = pg::Number<int>(found.rows.at(0), 1) + run.settings.apply_jobs;
    if (limit == "0") {
        run.Fail("target_origins", sqlstate::kConfigurationLimitExceeded, "target",
                 std::string(name) + " of the target is 0: it can track no replication origin",
                 SetAndRestart(name, "10", "target"));
    } else if (run.settings.apply_jobs > 1 && pg::Number<int>(found.rows.at(0), 0) < needed) {
        run.Fail("target_origins", sqlstate::kConfigurationLimitExceeded, "target",
                 std::string(name) + " of the target is " + limit + ": with one for each of " +
                     std::to_string(run.settings.apply_jobs) +
                     " apply workers it would have to track " + std::to_string(needed) +
                     " replication origins",
                 SetAndRestart(name, std::to_string(needed + 2), "target"));
    } else {
        run.Ok("target_origins", "target", "can track " + limit + " replication origins");
    }
}

// Origins belong to the whole server: a migration of the same name in another database would lose
// its position to ours.
void
CheckOriginName(PreflightRun &run) {
    const std::string name = SlotName(run.settings.name);
    const pg::SqlResult found =
        pg::Query("SELECT FROM pg_catalog.pg_replication_origin WHERE roname = $1", {name});
    if (found.processed > 0) {
        run.Fail("origin_exists", sqlstate::kDuplicateObject, QuoteIdentifier(name),
                 "the target server has a replication origin " + QuoteIdentifier(name) +
                     " already, of a migration of this name in another database or an earlier one",
                 Choices("-- give this migration another name",
                         {"SELECT pg_replication_origin_drop(" + QuoteLiteral(name) +
                          "); if no database of this server has such a migration"}));
    } else {
        run.Ok("origin_exists", QuoteIdentifier(name),
               "the target has no replication origin of this name yet");
    }
}

void
CheckPreload(PreflightRun &run) {
    if (IsPreloaded("livemigrate")) {
        run.Ok("preload", "target", "migrations go on by themselves after a restart");
        return;
    }
    run.Notice("preload", "target",
               "livemigrate is not in shared_preload_libraries: after a restart of the target, run "
               "SELECT livemigrate.migration_resume();",
               PreloadFix({"livemigrate"}));
}

// Of what kind the processes of other roles are is shown to members of pg_read_all_stats only.
bool
NoticeHiddenProcesses(PreflightRun &run) {
    const pg::SqlRow row =
        pg::Query("SELECT pg_catalog.count(*), "
                  "  pg_catalog.quote_ident(pg_catalog.current_database()), "
                  "  pg_catalog.quote_ident(current_user), "
                  "  pg_catalog.string_agg(DISTINCT pg_catalog.quote_ident(a.usename), ', ') "
                  "FROM pg_catalog.pg_stat_activity a "
                  "WHERE a.datname = pg_catalog.current_database() AND a.backend_type IS NULL "
                  "AND a.usename IS NOT NULL AND a.application_name <> 'livemigrate'")
            .rows.at(0);
    const auto count = pg::Number<size_t>(row, 0);
    if (count > 0) {
        run.Notice("target_sessions", pg::Text(row, 1),
                   "of what kind " + Count(count, "session") + " of other roles (" +
                       pg::Text(row, 3) + ") in the target database " +
                       (count == 1 ? "is" : "are") + " is not shown to role " + pg::Text(row, 2) +
                       ": nobody else should write to the target during a migration",
                   "GRANT pg_read_all_stats TO " + pg::Text(row, 2) + ";");
    }
    return count > 0;
}

// What somebody else writes there makes the copy or apply stop, if it is not lost to them.
void
CheckSessions(PreflightRun &run) {
    const pg::SqlResult found = pg::Query(
        "SELECT pg_catalog.quote_ident(pg_catalog.current_database()), "
        "  pg_catalog.count(*), "
        "  pg_catalog.count(*) FILTER (WHERE a.backend_xid IS NOT NULL), "
        "  pg_catalog.string_agg(DISTINCT pg_catalog.quote_ident(a.usename), ', ') "
        "FROM pg_catalog.pg_stat_activity a WHERE a.datname = pg_catalog.current_database() "
        "AND a.backend_type = 'client backend' AND a.pid <> pg_catalog.pg_backend_pid() "
        "AND a.application_name <> 'livemigrate'");
    const pg::SqlRow &row = found.rows.at(0);
    const std::string database = pg::Text(row, 0);
    const auto sessions = pg::Number<size_t>(row, 1);
    const auto writers = pg::Number<size_t>(row, 2);
    if (NoticeHiddenProcesses(run) && sessions == 0) {
        return;
    }
    if (sessions == 0) {
        run.Ok("target_sessions", database, "nobody else is connected to the target database");
        return;
    }
    const std::string fix =
        "ALTER DATABASE " + database +
        " SET default_transaction_read_only = on; -- the migration's own sessions write in spite\n"
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
        "current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND "
        "application_name <> 'livemigrate';\n"
        "-- when applications are to use it: ALTER DATABASE " +
        database + " RESET default_transaction_read_only;";
    const std::string who = Count(sessions, "other session") + " (" + pg::Text(row, 3) + ")";
    if (writers > 0) {
        run.Warning("target_sessions", database,
                    who + " of the target database, " + std::to_string(writers) +
                        " of which in a transaction that writes: nobody else should write to the "
                        "target during a migration",
                    fix);
    } else {
        run.Notice("target_sessions", database,
                   who + " of the target database: nobody else should write to the target during "
                         "a migration",
                   fix);
    }
}

// The schema is restored in one transaction, which keeps its locks.
void
CheckLocks(PreflightRun &run) {
    if (!run.CreatesSchema()) {
        return;
    }
    const int64_t slots = MaxBackends;
    const int64_t capacity = int64_t{max_locks_per_xact} * slots;
    const int64_t needed = kLocksPerTable * static_cast<int64_t>(run.result.tables.size());
    const std::string text = "the target's lock table holds about " + std::to_string(capacity) +
                             " locks; creating the schema takes about " + std::to_string(needed);
    const std::string fix =
        SetAndRestart("max_locks_per_transaction",
                      std::to_string(2 * needed / slots + max_locks_per_xact), "target");
    if (needed / 2 > capacity) {
        run.Fail("target_locks", sqlstate::kConfigurationLimitExceeded, "target", text, fix);
    } else if (needed > capacity) {
        run.Warning("target_locks", "target", text, fix);
    } else {
        run.Ok("target_locks", "target", text);
    }
}

// The elements of a list setting, without their quotes.
std::vector<std::string>
SplitList(const std::string &setting) {
    std::vector<std::string> elements;
    std::string element;
    bool quoted = false;
    for (const char character : setting + ",") {
        if (character == '"') {
            quoted = !quoted;
        } else if (character == ',' && !quoted) {
            if (!element.empty()) {
                elements.push_back(element);
            }
            element.clear();
        } else if (character != ' ' || quoted) {
            element += character;
        }
    }
    return elements;
}

std::vector<std::string>
PreloadedLibraries() {
    return SplitList(shared_preload_libraries_string == nullptr ? ""
                                                                : shared_preload_libraries_string);
}

} // namespace

bool
IsPreloaded(const std::string &name) {
    const std::vector<std::string> libraries = PreloadedLibraries();
    return std::any_of(libraries.begin(), libraries.end(), [&](const std::string &library) {
        return library.substr(library.rfind('/') + 1) == name;
    });
}

std::string
PreloadFix(const std::vector<std::string> &names) {
    std::vector<std::string> libraries = PreloadedLibraries();
    libraries.insert(libraries.end(), names.begin(), names.end());
    std::string list;
    for (const std::string &library : libraries) {
        list += (list.empty() ? "" : ", ") + QuoteLiteral(library);
    }
    return SetAndRestart("shared_preload_libraries", list, "target");
}

void
CheckTargetServer(PreflightRun &run) {
    CheckRecovery(run);
    CheckTargetRights(run);
    CheckWorkers(run);
    CheckOrigins(run);
    CheckOriginName(run);
    CheckLocks(run);
    CheckSessions(run);
    CheckPreload(run);
}

} // namespace livemigrate::stage
