// What the checks of one preflight share. Only for preflight*.cpp.
#pragma once

#include "core/call_hint.hpp"
#include "core/error.hpp"
#include "core/migration_settings.hpp"
#include "core/table_pattern.hpp"
#include "source/connection.hpp"
#include "stage/preflight.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace livemigrate::stage {

// How the source server is changed: the plain way, or that of the provider it is at.
// preflight_provider.cpp.
class SourceWays {
  public:
    std::string provider;     // its name; empty: none that is known
    std::string decoding;     // turns logical decoding on
    std::string replication;  // lets our role use it
    std::string setting_line; // where a provider has its settings: "%p = %v" and more
    std::string restart;      // behind that, what makes it valid

    // Sets a parameter of the server. `value` as in ALTER SYSTEM.
    std::string Set(const std::string &parameter, const std::string &value) const;
    std::string SetWithRestart(const std::string &parameter, const std::string &value) const;

    // Brings the newest minor release, or a package.
    std::string Upgrade(int major) const;
    std::string Install(const std::string &package) const;

  private:
    std::string SettingLine(const std::string &parameter, const std::string &value) const;
};

class PreflightRun {
  public:
    // `source` and `result` must outlive the run. Throws Error 22023 for a malformed pattern.
    PreflightRun(const MigrationSettings &given, source::Connection &connection,
                 PreflightResult &rows);

    // A fix can be pasted into psql, or is a line of a configuration file; what is only to be read
    // stands behind "--".
    void Ok(std::string check_id, std::string object, std::string message);
    void Notice(std::string check_id, std::string object, std::string message, std::string fix);
    void Warning(std::string check_id, std::string object, std::string message, std::string fix);
    void Fail(std::string check_id, std::string_view sqlstate, std::string object,
              std::string message, std::string fix);

    // Whether the check has a row at error already.
    bool Failed(std::string_view check_id) const;

    const source::SourceInfo &
    info() const {
        return result.source;
    }
    bool IsInsertOnly(const source::SourceTable &table) const;
    bool HasData(const source::SourceTable &table) const; // its rows are copied and replicated

    // Whether stage schema makes the tables and what they need; else they are on the target
    // already.
    bool CreatesSchema() const;

    const MigrationSettings &settings;
    source::Connection &source;
    PreflightResult &result;
    TableFilter filter;
    SourceWays ways;

    // The tables that the filter leaves out.
    std::vector<source::SourceTable> left_out;

    // For the checks of the change stream; absent when the source refused it.
    std::optional<source::Connection> replication;

  private:
    std::vector<TablePattern> exclude_data_;
    std::vector<TablePattern> insert_only_;
};

std::string TableName(const source::SourceTable &table); // "schema"."name"

// "a, b and 3 more": at most `limit` of the names.
std::string ListNames(const std::vector<std::string> &names, size_t limit = 10);

// `count` and the noun, in the plural where it is needed.
std::string Count(size_t count, const std::string &noun);

// A fix with what else would do, as comments below it.
std::string Choices(const std::string &first, const std::vector<std::string> &others);

// ALTER SYSTEM for a parameter, with a reload or the remark that `server` must be restarted.
std::string SetAndRestart(const std::string &parameter, const std::string &value,
                          const std::string &server);
std::string SetAndReload(const std::string &parameter, const std::string &value);

// Of the target's shared_preload_libraries; and what adds libraries there. preflight_target.cpp.
bool IsPreloaded(const std::string &name);
std::string PreloadFix(const std::vector<std::string> &names);

SourceWays FindSourceWays(PreflightRun &run); // preflight_provider.cpp

void CheckTimeouts(PreflightRun &run); // preflight_timeouts.cpp; part of CheckOperation

void CheckTargetRights(PreflightRun &run); // preflight_target_rights.cpp; of CheckTargetServer

void CheckLocale(PreflightRun &run); // preflight_locale.cpp; part of CheckSourceServer

// preflight_hypertable_columns.cpp; part of CheckHypertables. `timescaledb` is its version. Returns
// false if the table cannot become a hypertable.
bool CheckHypertableColumns(PreflightRun &run, const HypertableOption &option,
                            const source::SourceTable &table, const std::string &timescaledb);

// The checks, in the order in which they run. Each adds at least one row, if it has to do with the
// migration at all.
void CheckSourceServer(PreflightRun &run);          // preflight_source.cpp
void CheckSourceLimits(PreflightRun &run);          // preflight_limits.cpp
void CheckOpenTransactions(PreflightRun &run);      // preflight_limits.cpp
void CheckCapacity(PreflightRun &run);              // preflight_capacity.cpp
void CheckWideRows(PreflightRun &run);              // preflight_wide_rows.cpp
void CheckOperation(PreflightRun &run);             // preflight_operation.cpp
void CheckSecurity(PreflightRun &run);              // preflight_security.cpp
void CheckReplicationConnection(PreflightRun &run); // preflight_slot.cpp
void CheckSlot(PreflightRun &run);                  // preflight_slot.cpp
void CheckPlugin(PreflightRun &run);                // preflight_plugin.cpp
void CheckPublication(PreflightRun &run);           // preflight_slot.cpp
void CheckTables(PreflightRun &run);                // preflight_tables.cpp
void CheckRights(PreflightRun &run);                // preflight_rights.cpp
void CheckTargetServer(PreflightRun &run);          // preflight_target.cpp
void CheckExtensions(PreflightRun &run);            // preflight_software.cpp
void CheckClientBinaries(PreflightRun &run);        // preflight_software.cpp
void CheckTargetObjects(PreflightRun &run);         // preflight_objects.cpp
void CheckTablespaces(PreflightRun &run);           // preflight_tablespaces.cpp
void CheckHypertables(PreflightRun &run);           // preflight_hypertables.cpp
void CheckCitus(PreflightRun &run);                 // preflight_citus.cpp

} // namespace livemigrate::stage
