#include "pg/prelude.hpp"

#include "stage/schema_dump.hpp"

#include "core/dump_text.hpp"
#include "core/error.hpp"
#include "core/sql_text.hpp"
#include "pg/child_process.hpp"
#include "pg/client_binary.hpp"
#include "pg/guard.hpp"
#include "source/connection.hpp"

#include <algorithm>
#include <filesystem>
#include <initializer_list>
#include <system_error>

namespace livemigrate::stage {

namespace {

// A conninfo value in quotes: backslash and quote are escaped by a backslash.
std::string
ConninfoValue(const std::string &value) {
    std::string quoted = "'";
    for (const char character : value) {
        if (character == '\'' || character == '\\') {
            quoted += '\\';
        }
        quoted += character;
    }
    return quoted + "'";
}

// What pg_dump does not set itself: an amount of money in a default or a constraint is read again
// in a worker, where the locale is this one.
constexpr char kDumpOptions[] = "-c lc_monetary=C";

struct ChildConnection {
    std::string conninfo; // without the password
    std::vector<std::pair<std::string, std::string>> environment;
};

ChildConnection
SplitPassword(const std::string &conninfo) {
    ChildConnection child;
    std::string options;
    for (const auto &[keyword, value] : source::ParseConninfo(conninfo)) {
        if (keyword == "password") {
            child.environment.emplace_back("PGPASSWORD", value);
        } else if (keyword == "options") {
            options = value + " ";
        } else if (keyword != "application_name" && keyword != "client_encoding") {
            child.conninfo += keyword + "=" + ConninfoValue(value) + " ";
        }
    }
    child.conninfo +=
        "options=" + ConninfoValue(options + kDumpOptions) + " application_name=livemigrate";
    return child;
}

// pg_dump takes patterns: quoting makes every character stand for itself.
std::string
ExactPattern(const std::pair<std::string, std::string> &relation) {
    return QualifiedName(relation.first, relation.second);
}

void
AddRightsFlags(const MigrationSettings &settings, std::vector<std::string> &argv) {
    if (!settings.owner) {
        argv.push_back("--no-owner");
    }
    if (!settings.privileges) {
        argv.push_back("--no-privileges");
    }
    if (!settings.tablespaces) {
        argv.push_back("--no-tablespaces");
    }
}

// pg_dump reads no server that is newer than itself; pg_restore is to know what that pg_dump wrote.
std::string
Program(const char *name, int source_version) {
    return pg::ClientBinary(name, std::max(source_version, pg::kBuiltForVersion) / 10000);
}

bool
HasAnyOf(const std::string &text, std::initializer_list<const char *> parts) {
    return std::any_of(parts.begin(), parts.end(),
                       [&](const char *part) { return text.find(part) != std::string::npos; });
}

// What libpq and a server that ends say; of other languages nothing is known, so that such an error
// stops the migration and does not try again. Nor does one by which the server refuses the
// connection for good: a wrong password, no line in pg_hba.conf, no such database.
bool
HasLostConnection(const std::string &errors) {
    if (HasAnyOf(errors, {"FATAL:"})) {
        return HasAnyOf(errors, {"terminating", "canceling", "the database system is", "too many",
                                 "remaining connection slots"});
    }
    return HasAnyOf(errors,
                    {"server closed the connection unexpectedly", "could not connect to server",
                     "connection to server", "could not receive data from server"});
}

std::string
Run(const pg::ChildRequest &request, const char *program) {
    pg::ChildResult result = pg::RunChild(request);
    if (result.exit_code != 0 && HasLostConnection(result.error_output)) {
        throw Error(sqlstate::kConnectionFailure,
                    std::string(program) + " lost its connection to the source")
            .Detail(result.error_output);
    }
    if (result.exit_code != 0) {
        throw Error(sqlstate::kObjectNotInPrerequisiteState, std::string(program) +
                                                                 " ended with exit code " +
                                                                 std::to_string(result.exit_code))
            .Detail(result.error_output)
            .Hint("Remove the cause, then run: SELECT livemigrate.migration_resume();");
    }
    return std::move(result.output);
}

// What others have left, who were not to end their work.
void
RemoveUnfinished(const std::string &file) {
    const std::filesystem::path path(file);
    const std::string begin = path.filename().string() + ".";
    std::error_code code;
    for (const auto &entry : std::filesystem::directory_iterator(path.parent_path(), code)) {
        if (entry.path().filename().string().rfind(begin, 0) == 0) {
            std::filesystem::remove(entry.path(), code);
        }
    }
}

} // namespace

void
DumpSchema(const MigrationSettings &settings, int source_version, const std::string &snapshot,
           const std::vector<std::pair<std::string, std::string>> &excluded,
           const std::string &file, const std::function<void()> &waiting) {
    RemoveUnfinished(file);
    // The name is given to what is complete, and durably: it is read again when the data is copied.
    const std::string unfinished = file + "." + std::to_string(MyProcPid);
    const ChildConnection child = SplitPassword(settings.source);
    pg::ChildRequest request;
    request.environment = child.environment;
    request.waiting = waiting;
    request.argv = {Program("pg_dump", source_version),
                    "--format=custom",
                    "--schema-only",
                    "--quote-all-identifiers",
                    "--no-password",
                    "--encoding=" + std::string(GetDatabaseEncodingName()),
                    "--snapshot=" + snapshot,
                    "--file=" + unfinished,
                    "--dbname=" + child.conninfo};
    AddRightsFlags(settings, request.argv);
    for (const auto &relation : excluded) {
        request.argv.push_back("--exclude-table=" + ExactPattern(relation));
    }
    Run(request, "pg_dump");
    pg::Call([&] { durable_rename(unfinished.c_str(), file.c_str(), ERROR); });
}

std::string
RestoreText(const MigrationSettings &settings, int source_version, const std::string &file,
            DumpSection section) {
    pg::ChildRequest request;
    request.argv = {Program("pg_restore", source_version), "--file=-",
                    section == DumpSection::kPreData ? "--section=pre-data"
                                                     : "--section=post-data"};
    AddRightsFlags(settings, request.argv);
    request.argv.push_back(file);
    const std::string text = Run(request, "pg_restore");
    return std::string(StripMetaCommands(text));
}

} // namespace livemigrate::stage
