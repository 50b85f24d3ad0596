#include "pg/prelude.hpp"

#include "source/connection_rights.hpp"

#include "core/error.hpp"
#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/guc.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace livemigrate::source {

namespace {

// libpq's options that reach nothing of this machine.
constexpr auto kHarmless = std::to_array<std::string_view>({
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "fallback_application_name",
    "gssencmode",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "password",
    "port",
    "replication",
    "require_auth",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcompression",
    "sslmode",
    "sslnegotiation",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
});

bool
IsSuperusersSession() {
    const char *value = pg::Call([] { return GetConfigOption("is_superuser", true, false); });
    return value != nullptr && std::string_view(value) == "on";
}

bool
IsHarmless(const std::string &keyword, const std::string &value) {
    // The operating system's certificates, which everybody may use.
    return (keyword == "sslrootcert" && value == "system") ||
           std::find(kHarmless.begin(), kHarmless.end(), keyword) != kHarmless.end();
}

// "a, b,c" without the spaces; an empty text has one empty element, as in libpq's host lists.
std::vector<std::string>
SplitList(const std::string &text) {
    std::vector<std::string> elements(1);
    for (const char character : text) {
        if (character == ',') {
            elements.emplace_back();
        } else if (character != ' ') {
            elements.back() += static_cast<char>(
                character >= 'A' && character <= 'Z' ? character - 'A' + 'a' : character);
        }
    }
    return elements;
}

void
CheckHosts(const std::string &hosts, const std::vector<std::string> &allowed) {
    for (const std::string &host : SplitList(hosts)) {
        if (std::find(allowed.begin(), allowed.end(), host) == allowed.end()) {
            throw Error(sqlstate::kInsufficientPrivilege,
                        "only a superuser may connect to host \"" + host + "\"")
                .Detail("It is not in livemigrate.allowed_source_hosts.")
                .Hint("As superuser: ALTER SYSTEM SET livemigrate.allowed_source_hosts = " +
                      QuoteLiteral(pg::AllowedSourceHosts() + ", " + host) +
                      "; SELECT pg_reload_conf();");
        }
    }
}

} // namespace

void
CheckMayConnect(const std::vector<std::pair<std::string, std::string>> &options) {
    if (IsSuperusersSession()) {
        return;
    }
    std::string hosts;
    std::string addresses;
    bool has_password = false;
    for (const auto &[keyword, value] : options) {
        if (!IsHarmless(keyword, value)) {
            throw Error(sqlstate::kInsufficientPrivilege,
                        "only a superuser may give the connection option \"" + keyword + "\"")
                .Detail("It reaches files or programs of the target's machine with the rights of "
                        "its server.")
                .Hint("Leave it out, or let a superuser start the migration.");
        }
        hosts = keyword == "host" ? value : hosts;
        addresses = keyword == "hostaddr" ? value : addresses;
        has_password = has_password || (keyword == "password" && !value.empty());
    }
    const std::vector<std::string> allowed = SplitList(pg::AllowedSourceHosts());
    if (std::find(allowed.begin(), allowed.end(), "*") == allowed.end()) {
        CheckHosts(hosts, allowed);
        if (!addresses.empty()) {
            CheckHosts(addresses, allowed);
        }
    }
    if (!has_password && pg::SourcePasswordRequired()) {
        throw Error(sqlstate::kInsufficientPrivilege,
                    "the source's connection string must have a password")
            .Detail("The role is not a superuser, and without a password the source would take "
                    "it for the operating-system user of this server.")
            .Hint("Add password=..., or as superuser: ALTER SYSTEM SET "
                  "livemigrate.source_password_required = off; SELECT pg_reload_conf();");
    }
}

void
CheckPasswordUsed(const PGconn *connection) {
    if (PQconnectionUsedPassword(connection) != 0 || !pg::SourcePasswordRequired() ||
        IsSuperusersSession()) {
        return;
    }
    throw Error(sqlstate::kInsufficientPrivilege, "the source did not ask for the password")
        .Detail("The role is not a superuser, and without a password the source takes it for the "
                "operating-system user of this server.")
        .Hint("Let the source's pg_hba.conf ask for scram-sha-256, or as superuser: ALTER SYSTEM "
              "SET livemigrate.source_password_required = off; SELECT pg_reload_conf();");
}

} // namespace livemigrate::source
