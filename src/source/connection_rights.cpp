#include "pg/prelude.hpp"

#include "source/connection_rights.hpp"

#include "core/error.hpp"
#include "core/libpq_option.hpp"
#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/guc.hpp"
#include "source/connection.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <iterator>
#include <string_view>

namespace livemigrate::source {

namespace {

bool
IsSuperusersSession() {
    const char *value = pg::Call([] { return GetConfigOption("is_superuser", true, false); });
    return value != nullptr && std::string_view(value) == "on";
}

bool
IsHarmless(const std::string &keyword, const std::string &value) {
    // The operating system's certificates, which everybody may use.
    return (keyword == "sslrootcert" && value == "system") || !KnowledgeOf(keyword).is_harmful;
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

// Addresses that lead to the machine's own surroundings, such as a cloud's metadata service: IPv4
// and IPv6 link-local, and the one of Amazon's that is not.
bool
IsLinkLocal(const std::string &address) {
    unsigned char bytes[16];
    if (inet_pton(AF_INET, address.c_str(), bytes) == 1) {
        return bytes[0] == 169 && bytes[1] == 254;
    }
    if (inet_pton(AF_INET6, address.substr(0, address.find('%')).c_str(), bytes) != 1) {
        return false;
    }
    constexpr unsigned char kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    constexpr unsigned char kMetadata[16] = {0xfd, 0, 0x0e, 0xc2, 0, 0, 0, 0,
                                             0,    0, 0,    0,    0, 0, 2, 0x54};
    return (bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80) ||
           (std::equal(std::begin(kMapped), std::end(kMapped), bytes) && bytes[12] == 169 &&
            bytes[13] == 254) ||
           std::equal(std::begin(kMetadata), std::end(kMetadata), bytes);
}

void
RefuseLinkLocal(const std::string &address) {
    const std::vector<std::string> allowed = SplitList(pg::AllowedSourceHosts());
    if (IsLinkLocal(address) &&
        std::find(allowed.begin(), allowed.end(), address) == allowed.end()) {
        throw Error(sqlstate::kInsufficientPrivilege,
                    "only a superuser may connect to the link-local address " + address)
            .Hint("As superuser: ALTER SYSTEM SET livemigrate.allowed_source_hosts = " +
                  QuoteLiteral(pg::AllowedSourceHosts() + ", " + address) +
                  "; SELECT pg_reload_conf();");
    }
}

// One host: with several, how long it takes and which one answers tells of the others.
void
CheckOneHost(const std::string &hosts, const std::string &addresses) {
    if (hosts.find(',') != std::string::npos || addresses.find(',') != std::string::npos) {
        throw Error(sqlstate::kInsufficientPrivilege,
                    "only a superuser may give more than one host")
            .Hint("Give the host that is the primary now.");
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
    CheckOneHost(hosts, addresses);
    RefuseLinkLocal(hosts);
    RefuseLinkLocal(addresses);
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
CheckAddress(const PGconn *connection) {
    const char *address = PQhostaddr(connection);
    if (address != nullptr && !IsSuperusersSession()) {
        RefuseLinkLocal(address);
    }
}

bool
MayKnowReason(const std::string &reason, const std::string &conninfo) {
    if (IsSuperusersSession()) {
        return true;
    }
    for (const auto &[keyword, value] : ParseConninfo(conninfo)) {
        // libpq's messages quote the host: with these in it, it could look like an answer.
        if (keyword == "host" && value.find_first_of(" \"\t\r\n") != std::string::npos) {
            return false;
        }
    }
    return reason.starts_with("invalid ") || // a value that libpq refuses before it connects
           reason.find("failed: FATAL:  ") != std::string::npos ||
           reason.find("no password supplied") != std::string::npos;
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
