#include "pg/prelude.hpp"

#include "source/connection.hpp"

#include "core/conninfo.hpp"
#include "pg/guard.hpp"
#include "pg/wait.hpp"
#include "source/connection_rights.hpp"

#include <algorithm>
#include <charconv>
#include <map>

extern "C" {
#include "storage/fd.h"
}

namespace livemigrate::source {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kConnectTimeout{15};

// Startup options every version knows. Escaping: a space in a value would need a backslash. The
// keepalives are the source's: a session of ours whose network is gone must not keep its locks and
// its snapshot for the two hours that systems wait by default.
constexpr char kPinnedOptions[] =
    "-c bytea_output=hex -c DateStyle=ISO,MDY -c IntervalStyle=postgres -c extra_float_digits=3"
    " -c TimeZone=UTC -c search_path= -c statement_timeout=0 -c lock_timeout=0"
    " -c idle_in_transaction_session_timeout=0 -c row_security=off -c lc_monetary=C"
    " -c xmloption=content -c default_transaction_read_only=off"
    " -c default_transaction_isolation=read\\ committed -c standard_conforming_strings=on"
    " -c synchronize_seqscans=off -c client_min_messages=warning"
    " -c tcp_keepalives_idle=20 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=5";

struct PinnedSetting {
    const char *name;
    const char *value;
};

constexpr PinnedSetting kVerifiedSettings[] = {
    {"bytea_output", "hex"},
    {"IntervalStyle", "postgres"},
    {"extra_float_digits", "3"},
    {"statement_timeout", "0"},
    {"TimeZone", "UTC"},
    {"search_path", ""},
    {"row_security", "off"},
    {"DateStyle", "ISO, MDY"},
    {"idle_in_transaction_session_timeout", "0"},
};

std::string
TrimNewline(std::string text) {
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) {
        text.pop_back();
    }
    return text;
}

bool
Contains(const std::string &text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

// libpq reports no SQLSTATE for a failed connection attempt: recognize what an operator can act on.
Error
ConnectError(const std::string &conninfo, const std::string &reason) {
    const std::string message =
        "could not connect to the source (" + DescribeConninfo(conninfo) + ")";
    if (Contains(reason, "password authentication failed") ||
        Contains(reason, "no password supplied")) {
        return Error(sqlstate::kInvalidPassword, message)
            .Detail(reason)
            .Hint("Check user and password; a password may also stand in a passfile or a service "
                  "file of the target server's operating system user.");
    }
    if (Contains(reason, "no pg_hba.conf entry") || Contains(reason, "pg_hba.conf rejects")) {
        return Error("28000", message)
            .Detail(reason)
            .Hint("Add a line to the source's pg_hba.conf for this role, database and address, "
                  "then run: SELECT pg_reload_conf();");
    }
    if (Contains(reason, "database") && Contains(reason, "does not exist")) {
        return Error("3D000", message).Detail(reason).Hint("Check dbname in the conninfo string.");
    }
    if (Contains(reason, "role") && Contains(reason, "does not exist")) {
        return Error("28000", message).Detail(reason).Hint("Check user in the conninfo string.");
    }
    if (Contains(reason, "permission denied")) {
        return Error(sqlstate::kInsufficientPrivilege, message).Detail(reason);
    }
    if (Contains(reason, "must be superuser or replication role")) {
        return Error(sqlstate::kInsufficientPrivilege, message)
            .Detail(reason)
            .Hint("Run on the source, with the role's name: ALTER ROLE ... REPLICATION;");
    }
    if (Contains(reason, "unsupported startup parameter")) {
        return Error(sqlstate::kFeatureNotSupported, message)
            .Detail(reason)
            .Hint("This looks like a connection pooler. Give the address of the server itself.");
    }
    return Error(sqlstate::kCannotConnect, message)
        .Detail(reason)
        .Hint("Check host, port and that the source accepts connections from this server.");
}

void
CloseConnection(PGconn *connection) {
    if (connection != nullptr) {
        PQfinish(connection);
        ReleaseExternalFD();
    }
}

void
IgnoreNotice(void *, const char *) {}

// libpq's option connect_timeout may make it shorter.
std::chrono::seconds
ConnectTimeout(const std::vector<std::pair<std::string, std::string>> &options) {
    std::chrono::seconds timeout = kConnectTimeout;
    for (const auto &[keyword, value] : options) {
        int given = 0;
        std::from_chars(value.data(), value.data() + value.size(), given);
        if (keyword == "connect_timeout" && given > 0) {
            timeout = std::min(kConnectTimeout, std::chrono::seconds(given));
        }
    }
    return timeout;
}

// In a session the failure takes as long as one by silence, for the time tells, too. A worker
// connects only where a session has been let in.
[[noreturn]] void
ThrowHidden(const std::string &conninfo, const std::string &reason, Clock::time_point deadline) {
    const char *text = reason.c_str();
    const bool is_session = pg::Call([text] {
        ereport(LOG_SERVER_ONLY, (errmsg("could not connect to the source: %s", text)));
        return MyBackendType == B_BACKEND;
    });
    while (is_session && Clock::now() < deadline) {
        pg::SleepOnLatch(std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()));
    }
    throw Error(sqlstate::kCannotConnect,
                "could not connect to the source (" + DescribeConninfo(conninfo) + ")")
        .Detail("No PostgreSQL server answered. The target server's log says more.")
        .Hint("Check host, port and that the source accepts connections from this server.");
}

} // namespace

void
CheckConninfo(const std::string &conninfo) {
    ParseConninfo(conninfo);
}

std::vector<std::pair<std::string, std::string>>
ParseConninfo(const std::string &conninfo) {
    char *problem = nullptr;
    PQconninfoOption *options = PQconninfoParse(conninfo.c_str(), &problem);
    if (options == nullptr) {
        // libpq's message may quote a part of the string, which may be the password.
        PQfreemem(problem);
        throw Error(sqlstate::kInvalidParameterValue, "invalid source connection string")
            .Hint("Use a libpq string such as 'host=src port=5432 dbname=app user=migrator' or a "
                  "URI such as 'postgresql://migrator@src:5432/app'.");
    }
    std::vector<std::pair<std::string, std::string>> result;
    for (PQconninfoOption *option = options; option->keyword != nullptr; option++) {
        if (option->val != nullptr) {
            result.emplace_back(option->keyword, option->val);
        }
    }
    PQconninfoFree(options);
    return result;
}

std::string
DescribeConninfo(const std::string &conninfo) {
    std::map<std::string, std::string> named;
    for (auto &[keyword, value] : ParseConninfo(conninfo)) {
        named[keyword] = value;
    }
    std::string text;
    auto add = [&](const char *keyword, const char *label) {
        const auto found = named.find(keyword);
        if (found != named.end() && !found->second.empty()) {
            text += (text.empty() ? "" : " ") + std::string(label) + found->second;
        }
    };
    add("service", "service ");
    add("host", "host ");
    add("hostaddr", "address ");
    add("port", "port ");
    add("dbname", "database ");
    add("user", "user ");
    return text.empty() ? "libpq's defaults" : text;
}

Connection
Connection::Open(const std::string &conninfo, ConnectionKind kind) {
    std::string options;
    const auto given = ParseConninfo(conninfo);
    CheckMayConnect(given);
    for (const auto &[keyword, value] : given) {
        if (keyword == "options") {
            options = value + " ";
        }
    }
    options += kPinnedOptions;
    // Later keywords win over what the conninfo string expands to.
    const char *keywords[] = {"dbname",
                              "application_name",
                              "client_encoding",
                              "options",
                              "replication",
                              "fallback_application_name",
                              "keepalives_idle",
                              "keepalives_interval",
                              "keepalives_count",
                              "tcp_user_timeout",
                              nullptr};
    const char *values[] = {conninfo.c_str(),
                            "livemigrate",
                            GetDatabaseEncodingName(),
                            options.c_str(),
                            kind == ConnectionKind::kReplication ? "database" : "false",
                            "livemigrate",
                            "20",
                            "5",
                            "5",
                            "60000",
                            nullptr};
    if (!pg::Call([] { return AcquireExternalFD(); })) {
        throw Error("53000", "could not reserve a file descriptor for a connection to the source")
            .Hint("Raise max_files_per_process or the operating system's limit of open files.");
    }
    Connection connection(PQconnectStartParams(keywords, values, 1));
    if (connection.connection_ == nullptr) {
        throw Error("53200", "out of memory");
    }
    connection.Establish(conninfo, ConnectTimeout(given));
    CheckPasswordUsed(connection.connection_);
    PQsetNoticeProcessor(connection.connection_, IgnoreNotice, nullptr);
    connection.VerifySettings(kind);
    return connection;
}

void
Connection::Establish(const std::string &conninfo, std::chrono::seconds timeout) {
    const Clock::time_point deadline = Clock::now() + timeout;
    const bool in_time = Poll(deadline);
    if (in_time && PQstatus(connection_) == CONNECTION_OK) {
        CheckAddress(connection_);
        return;
    }
    const std::string no_answer = "No answer within " + std::to_string(timeout.count()) +
                                  (timeout.count() == 1 ? " second." : " seconds.");
    const std::string reason = in_time ? TrimNewline(PQerrorMessage(connection_)) : no_answer;
    if (!MayKnowReason(reason, conninfo)) {
        ThrowHidden(conninfo, reason, deadline);
    }
    if (!in_time) {
        throw Error(sqlstate::kCannotConnect, "could not connect to the source in time")
            .Detail(reason)
            .Hint("Check host, port and firewalls between this server and the source.");
    }
    throw ConnectError(conninfo, reason);
}

bool
Connection::Poll(Clock::time_point deadline) {
    PostgresPollingStatusType status =
        PQstatus(connection_) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
    while (status != PGRES_POLLING_OK && status != PGRES_POLLING_FAILED) {
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
        if (left.count() <= 0) {
            return false;
        }
        const pg::WaitResult event = pg::Wait({.socket = PQsocket(connection_),
                                               .for_read = status == PGRES_POLLING_READING,
                                               .for_write = status == PGRES_POLLING_WRITING,
                                               .timeout = left});
        if (event.readable || event.writable) {
            status = PQconnectPoll(connection_);
        }
    }
    return true;
}

void
Connection::VerifySettings(ConnectionKind kind) {
    const int version = server_version();
    if (version < 100000) {
        throw Error(sqlstate::kFeatureNotSupported, "the source server is too old")
            .Detail("It is PostgreSQL " + std::to_string(version / 10000) +
                    "; logical replication needs 10 or newer.");
    }
    if (version >= 140000) {
        Query("SET idle_session_timeout = 0");
    }
    if (version >= 170000) {
        Query("SET transaction_timeout = 0");
    }
    std::string sql = "SELECT ";
    for (const PinnedSetting &setting : kVerifiedSettings) {
        sql += std::string(&setting == kVerifiedSettings ? "" : ", ") +
               "pg_catalog.current_setting('" + setting.name + "')";
    }
    const pg::SqlResult result = Query(sql);
    size_t column = 0;
    for (const PinnedSetting &setting : kVerifiedSettings) {
        const std::string got = result.rows.at(0).at(column++).value_or("");
        if (got != setting.value) {
            throw Error(sqlstate::kObjectNotInPrerequisiteState,
                        std::string("the source connection ignores setting \"") + setting.name +
                            "\"")
                .Detail(std::string("It should be \"") + setting.value + "\" and is \"" + got +
                        "\".")
                .Hint("Give the address of the server itself, not of a connection pooler.");
        }
    }
    (void)kind;
}

SilenceMark::SilenceMark(std::atomic<int64_t> *since) : since_(since) {
    if (since_ != nullptr) {
        since_->store(GetCurrentTimestamp(), std::memory_order_relaxed);
    }
}

SilenceMark::~SilenceMark() {
    if (since_ != nullptr) {
        since_->store(0, std::memory_order_relaxed);
    }
}

Connection::Connection(Connection &&other) noexcept
    : connection_(std::exchange(other.connection_, nullptr)),
      input_wait_(std::move(other.input_wait_)), silent_since_(other.silent_since_) {}

Connection &
Connection::operator=(Connection &&other) noexcept {
    if (this != &other) {
        Close();
        connection_ = std::exchange(other.connection_, nullptr);
        input_wait_ = std::move(other.input_wait_);
        silent_since_ = other.silent_since_;
    }
    return *this;
}

Connection::~Connection() {
    Close();
}

void
Connection::Close() {
    input_wait_.reset();
    CloseConnection(std::exchange(connection_, nullptr));
}

void
Connection::Flush() {
    for (;;) {
        const int left = PQflush(connection_);
        if (left == 0) {
            return;
        }
        if (left < 0) {
            ThrowConnectionError("could not send to the source");
        }
        const pg::WaitResult event = pg::Wait(
            {.socket = PQsocket(connection_), .for_read = true, .for_write = true, .timeout = {}});
        if (event.readable && PQconsumeInput(connection_) == 0) {
            ThrowConnectionError("lost the connection to the source");
        }
    }
}

void
Connection::SendQuery(const std::string &sql) {
    PQsetnonblocking(connection_, 1);
    if (PQsendQuery(connection_, sql.c_str()) == 0) {
        ThrowConnectionError("could not send a query to the source");
    }
    Flush();
}

ResultPtr
Connection::NextResult(const WaitObserver &observer) {
    const SilenceMark mark(PQisBusy(connection_) != 0 ? silent_since_ : nullptr);
    while (PQisBusy(connection_) != 0) {
        const pg::WaitResult event = input_wait().Wait(std::chrono::seconds(1));
        if (event.readable && PQconsumeInput(connection_) == 0) {
            ThrowConnectionError("lost the connection to the source");
        }
        if (!event.readable && observer) {
            observer();
        }
    }
    return ResultPtr(PQgetResult(connection_));
}

ResultPtr
Connection::LastResult(const WaitObserver &observer) {
    ResultPtr last;
    while (ResultPtr next = NextResult(observer)) {
        const bool failed = last && PQresultStatus(last.get()) == PGRES_FATAL_ERROR;
        if (!failed) {
            last = std::move(next);
        }
        const ExecStatusType status = PQresultStatus(last.get());
        if (status == PGRES_COPY_OUT || status == PGRES_COPY_IN || status == PGRES_COPY_BOTH) {
            break;
        }
    }
    if (!last) {
        ThrowConnectionError("the source sent no result");
    }
    return last;
}

pg::SqlResult
Connection::FinishQuery(const WaitObserver &observer) {
    const ResultPtr result = LastResult(observer);
    const ExecStatusType status = PQresultStatus(result.get());
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        throw ErrorFromResult(result.get());
    }
    pg::SqlResult rows;
    const char *processed = PQcmdTuples(result.get());
    rows.processed = strtoull(processed, nullptr, 10);
    const int columns = PQnfields(result.get());
    rows.rows.resize(static_cast<size_t>(PQntuples(result.get())));
    for (size_t row = 0; row < rows.rows.size(); row++) {
        for (int column = 0; column < columns; column++) {
            const int index = static_cast<int>(row);
            if (PQgetisnull(result.get(), index, column) != 0) {
                rows.rows[row].emplace_back(std::nullopt);
            } else {
                rows.rows[row].emplace_back(
                    std::string(PQgetvalue(result.get(), index, column),
                                static_cast<size_t>(PQgetlength(result.get(), index, column))));
            }
        }
    }
    return rows;
}

pg::SqlResult
Connection::Query(const std::string &sql, const WaitObserver &observer) {
    SendQuery(sql);
    return FinishQuery(observer);
}

pg::SqlResult
Connection::Query(const std::string &sql, const std::vector<pg::SqlValue> &parameters,
                  const WaitObserver &observer) {
    std::vector<const char *> values;
    for (const pg::SqlValue &parameter : parameters) {
        values.push_back(parameter ? parameter->c_str() : nullptr);
    }
    PQsetnonblocking(connection_, 1);
    if (PQsendQueryParams(connection_, sql.c_str(), static_cast<int>(values.size()), nullptr,
                          values.data(), nullptr, nullptr, 0) == 0) {
        ThrowConnectionError("could not send a query to the source");
    }
    Flush();
    return FinishQuery(observer);
}

void
Connection::StartCopy(const std::string &sql, ExecStatusType expected) {
    SendQuery(sql);
    const ResultPtr result = LastResult();
    if (PQresultStatus(result.get()) != expected) {
        throw ErrorFromResult(result.get());
    }
}

uint64_t
Connection::FinishCopy() {
    const ResultPtr result = LastResult();
    if (PQresultStatus(result.get()) != PGRES_COMMAND_OK) {
        throw ErrorFromResult(result.get());
    }
    return strtoull(PQcmdTuples(result.get()), nullptr, 10);
}

void
Connection::EndWithClient() {
    constexpr int kFirstThatChecks = 140000;
    if (server_version() < kFirstThatChecks) {
        return;
    }
    try {
        Query("SET client_connection_check_interval = '2s'");
    } catch (const Error &error) {
        if (error.sqlstate() != sqlstate::kInvalidParameterValue) {
            throw; // else: the source's platform cannot do it
        }
    }
}

void
Connection::WaitForInput(std::chrono::milliseconds timeout) {
    input_wait().Wait(timeout);
    if (PQconsumeInput(connection_) == 0) {
        ThrowConnectionError("lost the connection to the source");
    }
}

pg::InputWait &
Connection::input_wait() {
    if (input_wait_ == nullptr) {
        input_wait_ = std::make_unique<pg::InputWait>(PQsocket(connection_));
    }
    return *input_wait_;
}

bool
Connection::IsAlive() {
    return connection_ != nullptr && PQconsumeInput(connection_) != 0 &&
           PQstatus(connection_) == CONNECTION_OK;
}

void
Connection::ThrowConnectionError(const std::string &what) {
    throw Error(sqlstate::kConnectionFailure, what)
        .Detail(TrimNewline(PQerrorMessage(connection_)));
}

Error
ErrorFromResult(const PGresult *result) {
    auto field = [&](int code) {
        const char *text = PQresultErrorField(result, code);
        return text == nullptr ? std::string() : std::string(text);
    };
    std::string sqlstate = field(PG_DIAG_SQLSTATE);
    std::string message = field(PG_DIAG_MESSAGE_PRIMARY);
    if (message.empty()) {
        message = TrimNewline(PQresultErrorMessage(result));
    }
    if (message.empty()) {
        message = "unexpected answer from the source";
    }
    if (sqlstate.empty()) {
        // No SQLSTATE: libpq's own message, the connection broke.
        sqlstate = sqlstate::kConnectionFailure;
    }
    return Error(sqlstate, "source: " + message)
        .Detail(field(PG_DIAG_MESSAGE_DETAIL))
        .Hint(field(PG_DIAG_MESSAGE_HINT))
        .Context(field(PG_DIAG_CONTEXT));
}

} // namespace livemigrate::source
