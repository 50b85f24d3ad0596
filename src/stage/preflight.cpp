#include "pg/prelude.hpp"

#include "stage/preflight.hpp"

#include "core/access_fix.hpp"
#include "core/sql_text.hpp"
#include "stage/preflight_run.hpp"

#include <algorithm>
#include <optional>
#include <utility>

namespace livemigrate::stage {

namespace {

constexpr size_t kErrorsInDetail = 20;

bool
MatchesAny(const std::vector<TablePattern> &patterns, const source::SourceTable &table) {
    return std::any_of(patterns.begin(), patterns.end(), [&](const TablePattern &pattern) {
        return pattern.Matches(table.schema, table.name);
    });
}

// An empty string would lead to wherever the environment of the target server points.
void
CheckSource(const std::string &conninfo) {
    if (source::ParseConninfo(conninfo).empty()) {
        throw Error(sqlstate::kInvalidParameterValue, "empty source connection string")
            .Detail("It names neither host nor database.")
            .Hint("Use a libpq string such as 'host=src port=5432 dbname=app user=migrator'.");
    }
}

std::string
ConnectionFix(const std::string &conninfo, const Error &error) {
    std::string_view provider;
    AccessRequest request;
    for (const auto &[keyword, value] : source::ParseConninfo(conninfo)) {
        if (keyword == "host") {
            provider = HostProvider(value);
            request.by_network = !value.starts_with('/');
        } else if (keyword == "hostaddr") {
            request.by_network = true;
        } else if (keyword == "dbname") {
            request.database = value;
        } else if (keyword == "user") {
            request.role = value;
        } else if (keyword == "sslmode") {
            request.sslmode = value;
        }
    }
    if (IsAboutAccess(error.detail())) {
        return AccessFix(provider, error.detail(), request);
    }
    const bool by_network = error.sqlstate() == sqlstate::kCannotConnect && !provider.empty();
    return Comment(error.hint()) + (by_network ? "\n" + NetworkFix(provider, "") : "");
}

// Without a connection there is nothing else to check.
std::optional<source::Connection>
Connect(const std::string &conninfo, PreflightResult &result) {
    try {
        return source::Connection::Open(conninfo, source::ConnectionKind::kSql);
    } catch (const Error &error) {
        if (error.sqlstate() == sqlstate::kQueryCanceled) {
            throw;
        }
        const std::string reason = error.detail().empty() ? "" : ": " + error.detail();
        result.rows.push_back({"connection", "error", source::DescribeConninfo(conninfo),
                               error.message() + reason, ConnectionFix(conninfo, error),
                               error.sqlstate()});
        return std::nullopt;
    }
}

} // namespace

PreflightRun::PreflightRun(const MigrationSettings &given, source::Connection &connection,
                           PreflightResult &rows)
    : settings(given), source(connection), result(rows),
      exclude_data_(ParseTablePatterns(given.exclude_table_data)),
      insert_only_(ParseTablePatterns(given.insert_only_tables)) {
    if (given.include_tables) {
        filter.include = ParseTablePatterns(*given.include_tables);
    }
    filter.exclude = ParseTablePatterns(given.exclude_tables);
}

void
PreflightRun::Ok(std::string check_id, std::string object, std::string message) {
    result.rows.push_back(
        {std::move(check_id), "ok", std::move(object), std::move(message), "", ""});
}

void
PreflightRun::Notice(std::string check_id, std::string object, std::string message,
                     std::string fix) {
    result.rows.push_back(
        {std::move(check_id), "notice", std::move(object), std::move(message), std::move(fix), ""});
}

void
PreflightRun::Warning(std::string check_id, std::string object, std::string message,
                      std::string fix) {
    result.rows.push_back({std::move(check_id), "warning", std::move(object), std::move(message),
                           std::move(fix), ""});
}

void
PreflightRun::Fail(std::string check_id, std::string_view sqlstate, std::string object,
                   std::string message, std::string fix) {
    result.rows.push_back({std::move(check_id), "error", std::move(object), std::move(message),
                           std::move(fix), std::string(sqlstate)});
}

bool
PreflightRun::Failed(std::string_view check_id) const {
    return std::any_of(result.rows.begin(), result.rows.end(), [&](const CheckRow &row) {
        return row.check_id == check_id && row.severity == "error";
    });
}

bool
PreflightRun::IsInsertOnly(const source::SourceTable &table) const {
    return MatchesAny(insert_only_, table);
}

bool
PreflightRun::HasData(const source::SourceTable &table) const {
    return table.relkind == 'r' && !MatchesAny(exclude_data_, table);
}

bool
PreflightRun::CreatesSchema() const {
    return settings.on_existing == OnExisting::kError && !settings.existing_slot;
}

std::string
TableName(const source::SourceTable &table) {
    return QualifiedName(table.schema, table.name);
}

std::string
ListNames(const std::vector<std::string> &names, size_t limit) {
    std::string text;
    for (size_t i = 0; i < names.size() && i < limit; i++) {
        text += (i == 0 ? "" : ", ") + names[i];
    }
    if (names.size() > limit) {
        text += " and " + std::to_string(names.size() - limit) + " more";
    }
    return text;
}

std::string
Count(size_t count, const std::string &noun) {
    return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

std::string
Choices(const std::string &first, const std::vector<std::string> &others) {
    std::string text = first;
    for (const std::string &other : others) {
        text += (text.empty() ? "" : "\n") + Comment("or: " + other);
    }
    return text;
}

std::string
SetAndRestart(const std::string &parameter, const std::string &value, const std::string &server) {
    return "ALTER SYSTEM SET " + parameter + " = " + value + ";\n-- then restart the " + server;
}

std::string
SetAndReload(const std::string &parameter, const std::string &value) {
    return "ALTER SYSTEM SET " + parameter + " = " + value + ";\nSELECT pg_reload_conf();";
}

PreflightResult
RunPreflight(const MigrationSettings &settings) {
    if (settings.requested_plugin != "auto") {
        ParsePlugin(settings.requested_plugin);
    }
    CheckSource(settings.source);
    PreflightResult result;
    std::optional<source::Connection> connection = Connect(settings.source, result);
    if (!connection) {
        return result;
    }
    PreflightRun run(settings, *connection, result);
    result.source = source::DescribeSource(*connection);
    run.ways = FindSourceWays(run);
    for (source::SourceTable &table :
         source::ListTables(*connection, source::TableSizes::kWhereCounted)) {
        const bool selected = run.filter.Selects(table.schema, table.name);
        (selected ? result.tables : run.left_out).push_back(std::move(table));
    }
    CheckSourceServer(run);
    CheckSourceLimits(run);
    CheckCapacity(run);
    CheckOperation(run);
    CheckSecurity(run);
    CheckReplicationConnection(run);
    CheckSlot(run);
    CheckPlugin(run);
    CheckPublication(run);
    CheckOpenTransactions(run);
    CheckTables(run);
    CheckRights(run);
    if (!settings.existing_slot) {
        CheckWideRows(run);
    }
    CheckTargetServer(run);
    CheckExtensions(run);
    CheckClientBinaries(run);
    CheckTargetObjects(run);
    CheckTablespaces(run);
    CheckHypertables(run);
    CheckCitus(run);
    return result;
}

void
ThrowOnErrors(const PreflightResult &result) {
    const CheckRow *first = nullptr;
    size_t others = 0;
    std::string detail;
    std::string hint;
    for (const CheckRow &row : result.rows) {
        if (row.severity != "error") {
            continue;
        }
        if (first == nullptr) {
            first = &row;
            detail =
                "Found by check " + row.check_id + " of migration_check, on " + row.object + ".";
            hint = row.fix;
        } else if (others++ < kErrorsInDetail) {
            detail += "\nAlso " + row.check_id + ": " + row.message + ".";
            hint += "\n" + Comment(row.check_id + ", " + row.object + ":") + "\n" + row.fix;
        }
    }
    if (first == nullptr) {
        return;
    }
    if (others > kErrorsInDetail) {
        detail += "\nAnd " + Count(others - kErrorsInDetail, "more error") + ".";
        hint += "\n-- livemigrate.migration_check() lists the others.";
    }
    throw Error(first->sqlstate, first->message).Detail(std::move(detail)).Hint(std::move(hint));
}

} // namespace livemigrate::stage
