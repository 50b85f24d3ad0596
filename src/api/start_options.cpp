#include "api/start_options.hpp"

#include "api/arguments.hpp"
#include "control/distribution_options.hpp"
#include "control/hypertable_options.hpp"
#include "core/error.hpp"
#include "core/output_plugin.hpp"
#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"
#include "source/connection.hpp"

#include <charconv>
#include <functional>
#include <map>

namespace livemigrate::api {

namespace {

constexpr int kMaxJobs = 32;

int
ReadJobs(FunctionCallInfo fcinfo, int index, const char *name) {
    const int jobs = RequiredInt(fcinfo, index, name);
    if (jobs < 1 || jobs > kMaxJobs) {
        throw Error(sqlstate::kInvalidParameterValue,
                    std::string("argument \"") + name +
                        "\" is out of range: " + std::to_string(jobs))
            .Hint("Give a number from 1 to " + std::to_string(kMaxJobs) + ".");
    }
    return jobs;
}

uint64_t
ReadSize(const std::string &text) {
    int64_t bytes = -1;
    try {
        bytes = pg::Number<int64_t>(
            pg::Query("SELECT pg_catalog.pg_size_bytes($1)", {text}).rows.at(0), 0);
    } catch (const Error &error) {
        if (!error.sqlstate().starts_with("22")) {
            throw;
        }
    }
    if (bytes < 0) {
        throw Error(sqlstate::kInvalidParameterValue,
                    "argument \"split_tables_larger_than\" is not a size: \"" + text + "\"")
            .Hint("Give a size such as '1 GB', or '0' to split no table.");
    }
    return static_cast<uint64_t>(bytes);
}

OnExisting
ReadOnExisting(const std::string &text) {
    static const std::pair<const char *, OnExisting> kChoices[] = {
        {"error", OnExisting::kError},
        {"truncate", OnExisting::kTruncate},
        {"skip_schema", OnExisting::kSkipSchema}};
    for (const auto &[name, choice] : kChoices) {
        if (text == name) {
            return choice;
        }
    }
    throw Error(sqlstate::kInvalidParameterValue,
                "unknown value for argument \"on_existing\": \"" + text + "\"")
        .Hint("Valid values are error, truncate and skip_schema.");
}

std::chrono::milliseconds
ReadTimeout(const std::string &text) {
    std::chrono::milliseconds timeout{0};
    try {
        timeout = Milliseconds(text);
    } catch (const Error &error) {
        if (!error.sqlstate().starts_with("22")) {
            throw;
        }
    }
    if (timeout.count() <= 0) {
        throw Error(sqlstate::kInvalidParameterValue,
                    "option \"slot_timeout\" is not a length of time: \"" + text + "\"")
            .Hint("Give an interval such as '10 minutes'; without the option there is no limit.");
    }
    return timeout;
}

// One key of `options`: its JSON type and what to do with its value as text.
struct OptionRule {
    const char *type;
    std::function<void(MigrationSettings &, const std::string &)> apply;
};

const std::map<std::string, OptionRule> &
OptionRules() {
    static const auto *rules = new std::map<std::string, OptionRule>{
        {"allow_downgrade",
         {"boolean", [](MigrationSettings &settings,
                        const std::string &value) { settings.allow_downgrade = value == "true"; }}},
        {"apply_jobs",
         {"number",
          [](MigrationSettings &settings, const std::string &value) {
              const char *end = value.data() + value.size();
              const auto parsed = std::from_chars(value.data(), end, settings.apply_jobs);
              if (parsed.ec != std::errc() || parsed.ptr != end || settings.apply_jobs < 1 ||
                  settings.apply_jobs > kMaxJobs) {
                  throw Error(sqlstate::kInvalidParameterValue,
                              "option \"apply_jobs\" is out of range: " + value)
                      .Hint("Give a whole number from 1 to " + std::to_string(kMaxJobs) + ".");
              }
          }}},
        {"database_settings",
         {"boolean",
          [](MigrationSettings &settings, const std::string &value) {
              settings.database_settings = value == "true";
          }}},
        {"distributed_tables",
         {"array", [](MigrationSettings &, const std::string &) {}}}, // see ReadDistributions
        {"existing_slot",
         {"string",
          [](MigrationSettings &settings, const std::string &value) {
              if (!IsSlotName(value)) {
                  throw Error(sqlstate::kInvalidParameterValue,
                              "option \"existing_slot\" is not a slot name: \"" + value + "\"")
                      .Hint("SELECT slot_name FROM pg_replication_slots; on the source shows "
                            "them.");
              }
              settings.existing_slot = value;
          }}},
        {"hypertables",
         {"array", [](MigrationSettings &, const std::string &) {}}}, // see ReadHypertables
        {"insert_only_tables",
         {"array", [](MigrationSettings &, const std::string &) {}}}, // see ReadTableList
        {"publication",
         {"string", [](MigrationSettings &settings,
                       const std::string &value) { settings.publication = value; }}},
        {"reference_tables",
         {"array", [](MigrationSettings &, const std::string &) {}}}, // see ReadDistributions
        {"slot_timeout",
         {"string", [](MigrationSettings &settings,
                       const std::string &value) { settings.slot_timeout = ReadTimeout(value); }}},
        {"tablespaces",
         {"boolean", [](MigrationSettings &settings,
                        const std::string &value) { settings.tablespaces = value == "true"; }}},
        {"unlogged",
         {"boolean", [](MigrationSettings &settings,
                        const std::string &value) { settings.unlogged = value == "true"; }}},
    };
    return *rules;
}

std::string
KnownOptions() {
    std::string names;
    for (const auto &[name, rule] : OptionRules()) {
        names += (names.empty() ? "" : ", ") + name;
    }
    return names;
}

void
ReadTableList(const std::string &json, MigrationSettings &settings) {
    const pg::SqlResult result =
        pg::Query("SELECT pg_catalog.jsonb_typeof(e), e #>> '{}' FROM "
                  "pg_catalog.jsonb_array_elements($1::jsonb->'insert_only_tables') AS e "
                  "WHERE pg_catalog.jsonb_typeof($1::jsonb->'insert_only_tables') = 'array'",
                  {json});
    for (const pg::SqlRow &row : result.rows) {
        if (pg::Text(row, 0) != "string") {
            throw Error(sqlstate::kInvalidParameterValue,
                        "option \"insert_only_tables\" must be an array of strings");
        }
        settings.insert_only_tables.push_back(pg::Text(row, 1));
    }
}

// Tables that are to be an extension's on the target.
void
ReadManagedTables(const std::string &json, MigrationSettings &settings) {
    settings.hypertables = control::ReadHypertables(json);
    settings.distributions = control::ReadDistributions(json);
    const bool makes_tables = settings.on_existing == OnExisting::kError && !settings.existing_slot;
    if (!settings.hypertables.empty() && !makes_tables) {
        throw Error(sqlstate::kInvalidParameterValue,
                    "option \"hypertables\" is for tables that the migration makes")
            .Hint("Call create_hypertable() on those that are there already.");
    }
    if (!settings.distributions.empty() && !makes_tables) {
        throw Error(sqlstate::kInvalidParameterValue,
                    "options \"distributed_tables\" and \"reference_tables\" are for tables that "
                    "the migration makes")
            .Hint("Call create_distributed_table() or create_reference_table() on those that are "
                  "there already.");
    }
    for (const DistributionOption &option : settings.distributions) {
        for (const HypertableOption &other : settings.hypertables) {
            if (option.schema == other.schema && option.table == other.table) {
                throw Error(sqlstate::kInvalidParameterValue,
                            "table " + QualifiedName(option.schema, option.table) +
                                " cannot be both a hypertable and one of Citus's")
                    .Hint("Name it in one of the options.");
            }
        }
    }
}

} // namespace

void
ReadOptions(const std::string &json, MigrationSettings &settings) {
    const pg::SqlResult kind = pg::Query("SELECT pg_catalog.jsonb_typeof($1::jsonb)", {json});
    if (kind.Scalar() != "object") {
        throw Error(sqlstate::kInvalidParameterValue, "options must be a JSON object")
            .Hint("For example: options => '{\"apply_jobs\": 2}'");
    }
    const pg::SqlResult keys =
        pg::Query("SELECT key, pg_catalog.jsonb_typeof(value), value #>> '{}' "
                  "FROM pg_catalog.jsonb_each($1::jsonb)",
                  {json});
    for (const pg::SqlRow &row : keys.rows) {
        const std::string name = pg::Text(row, 0);
        const auto rule = OptionRules().find(name);
        if (rule == OptionRules().end()) {
            throw Error(sqlstate::kInvalidParameterValue, "unknown option \"" + name + "\"")
                .Hint("Valid options are: " + KnownOptions() + ".");
        }
        if (pg::Text(row, 1) != rule->second.type) {
            throw Error(sqlstate::kInvalidParameterValue,
                        "option \"" + name + "\" must be a JSON " + rule->second.type);
        }
        rule->second.apply(settings, pg::Text(row, 2));
    }
    ReadTableList(json, settings);
    ReadManagedTables(json, settings);
    if (settings.publication && !settings.existing_slot) {
        throw Error(sqlstate::kInvalidParameterValue,
                    "option \"publication\" goes with option \"existing_slot\"")
            .Hint("Without it the migration makes a publication of its own.");
    }
}

namespace {

void
CheckPatterns(const MigrationSettings &settings) {
    if (settings.include_tables) {
        ParseTablePatterns(*settings.include_tables);
    }
    ParseTablePatterns(settings.exclude_tables);
    ParseTablePatterns(settings.exclude_table_data);
    ParseTablePatterns(settings.insert_only_tables);
}

void
ReadSource(FunctionCallInfo fcinfo, int index, MigrationSettings &settings) {
    settings.source = RequiredText(fcinfo, index, "source");
    source::CheckConninfo(settings.source);
}

void
ReadName(FunctionCallInfo fcinfo, int index, MigrationSettings &settings) {
    settings.name = RequiredText(fcinfo, index, "migration");
    if (settings.name.empty()) {
        throw Error(sqlstate::kInvalidParameterValue, "a migration's name must not be empty");
    }
}

void
ReadPlugin(FunctionCallInfo fcinfo, int index, MigrationSettings &settings) {
    const std::string plugin = RequiredText(fcinfo, index, "plugin");
    settings.requested_plugin = plugin;
    if (plugin != "auto") {
        try {
            ParsePlugin(plugin);
        } catch (const Error &) {
            throw Error(sqlstate::kInvalidParameterValue, "unknown plugin \"" + plugin + "\"")
                .Hint("Valid plugins are auto, pgoutput and wal2json.");
        }
    }
}

// Three arguments from `first` on.
void
ReadTables(FunctionCallInfo fcinfo, int first, MigrationSettings &settings) {
    settings.include_tables = TextArrayArgument(fcinfo, first);
    settings.exclude_tables = RequiredTextArray(fcinfo, first + 1, "exclude_tables");
    settings.exclude_table_data = RequiredTextArray(fcinfo, first + 2, "exclude_table_data");
}

// Four arguments from `first` on.
void
ReadSchemaArguments(FunctionCallInfo fcinfo, int first, MigrationSettings &settings) {
    settings.roles = RequiredBool(fcinfo, first, "roles");
    settings.owner = RequiredBool(fcinfo, first + 1, "owner");
    settings.privileges = RequiredBool(fcinfo, first + 2, "privileges");
    settings.on_existing = ReadOnExisting(RequiredText(fcinfo, first + 3, "on_existing"));
}

} // namespace

MigrationSettings
ReadCheckSettings(FunctionCallInfo fcinfo) {
    MigrationSettings settings;
    ReadSource(fcinfo, 0, settings);
    ReadPlugin(fcinfo, 1, settings);
    ReadTables(fcinfo, 3, settings);
    settings.table_jobs = ReadJobs(fcinfo, 6, "table_jobs");
    ReadSchemaArguments(fcinfo, 7, settings);
    settings.index_jobs = ReadJobs(fcinfo, 11, "index_jobs");
    settings.split_bytes = ReadSize(RequiredText(fcinfo, 12, "split_tables_larger_than"));
    ReadName(fcinfo, 13, settings);
    ReadOptions(RequiredText(fcinfo, 2, "options"), settings);
    CheckPatterns(settings);
    return settings;
}

StartRequest
ReadStartRequest(FunctionCallInfo fcinfo) {
    StartRequest request;
    MigrationSettings &settings = request.settings;
    ReadSource(fcinfo, 0, settings);
    ReadName(fcinfo, 1, settings);
    ReadPlugin(fcinfo, 2, settings);
    settings.pause_after = ParseStages(RequiredTextArray(fcinfo, 3, "pause_after"));
    settings.table_jobs = ReadJobs(fcinfo, 4, "table_jobs");
    settings.index_jobs = ReadJobs(fcinfo, 5, "index_jobs");
    settings.split_bytes = ReadSize(RequiredText(fcinfo, 6, "split_tables_larger_than"));
    ReadTables(fcinfo, 7, settings);
    ReadSchemaArguments(fcinfo, 10, settings);
    request.options_json = RequiredText(fcinfo, 14, "options");
    ReadOptions(request.options_json, settings);
    CheckPatterns(settings);
    return request;
}

} // namespace livemigrate::api
