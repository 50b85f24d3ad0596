#include "core/access_fix.hpp"

#include "core/sql_text.hpp"

#include <algorithm>
#include <cctype>
#include <vector>

namespace livemigrate {

namespace {

constexpr std::string_view kFile = "pg_hba.conf";

struct HostSuffix {
    std::string_view suffix;
    std::string_view provider;
};

constexpr HostSuffix kHostSuffixes[] = {
    {".rds.amazonaws.com", kAmazonRds},
    {".rds.amazonaws.com.cn", kAmazonRds},
    {".postgres.database.azure.com", kAzure},
    {".sql.goog", kCloudSql},
    {".alloydb.goog", kAlloyDb},
    {".alloydb-psc.goog", kAlloyDb},
    {".supabase.co", kSupabase},
    {".supabase.com", kSupabase},
    {".neon.tech", kNeon},
    {".tsdb.cloud.timescale.com", kTimescale},
    {".tsdb.cloud.tigerdata.com", kTimescale},
};

struct Network {
    std::string_view provider;
    std::string_view list;
};

constexpr Network kNetworks[] = {
    {kAmazonRds, "an inbound rule of the instance's security group"},
    {kCloudSql, "an authorized network of the instance"},
    {kAlloyDb, "an authorized external network of the instance"},
    {kAzure, "a firewall rule of the server, under Networking"},
    {kSupabase, "the network restrictions in the project's database settings"},
    {kNeon, "the IP allow list in the project's settings"},
    {kTimescale, "the IP allow list of the service"},
};

bool
Contains(std::string_view text, std::string_view part) {
    return text.find(part) != std::string_view::npos;
}

std::string_view
ProviderOf(std::string_view host) {
    std::string name(host);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    for (const HostSuffix &known : kHostSuffixes) {
        if (std::string_view(name).ends_with(known.suffix)) {
            return known.provider;
        }
    }
    return "";
}

// What stands in double quotes behind the file's name: host, role and database, in any language of
// the server's.
std::vector<std::string>
QuotedWords(std::string_view text) {
    std::vector<std::string> words;
    size_t at = text.find(kFile);
    while (at != std::string_view::npos && (at = text.find('"', at)) != std::string_view::npos) {
        const size_t end = text.find('"', at + 1);
        if (end == std::string_view::npos) {
            break;
        }
        words.emplace_back(text.substr(at + 1, end - at - 1));
        at = end + 1;
    }
    return words;
}

std::string
AccessLine(const AccessRequest &request) {
    const std::string who =
        QuoteIdentifier(request.database) + " " + QuoteIdentifier(request.role) + " ";
    if (request.address.empty() || request.address == "[local]") {
        return "local " + who + "peer";
    }
    const bool is_v6 = request.address.find(':') != std::string::npos;
    return "host " + who + request.address + (is_v6 ? "/128" : "/32") + " scram-sha-256";
}

// Whether the connection was not encrypted, and none that was has been tried. Only sslmode=disable
// does that: by default libpq begins with SSL where the server has it. Before 14 servers say "SSL
// off".
bool
LacksEncryption(std::string_view reason, std::string_view sslmode) {
    return sslmode == "disable" && !Contains(reason, "\"[local]\"") &&
           (Contains(reason, "no encryption") || Contains(reason, "SSL off"));
}

} // namespace

std::string_view
HostProvider(std::string_view hosts) {
    for (size_t begin = 0; begin <= hosts.size();) {
        const size_t end = std::min(hosts.find(',', begin), hosts.size());
        const std::string_view provider = ProviderOf(hosts.substr(begin, end - begin));
        if (!provider.empty()) {
            return provider;
        }
        begin = end + 1;
    }
    return "";
}

std::string
NetworkFix(std::string_view provider, std::string_view address) {
    std::string_view list = "the list of addresses that it lets in";
    for (const Network &network : kNetworks) {
        if (network.provider == provider) {
            list = network.list;
        }
    }
    return "-- at " + std::string(provider) + " add " +
           (address.empty() ? "the address of the target's server" : std::string(address)) +
           " to " + std::string(list);
}

bool
IsAboutAccess(std::string_view reason) {
    return Contains(reason, kFile);
}

std::string
AccessFix(std::string_view provider, std::string_view reason, AccessRequest request) {
    const std::vector<std::string> words = QuotedWords(reason);
    if (words.size() >= 2) {
        request.address = words[0];
        request.role = words[1];
    }
    if (words.size() >= 3) {
        request.database = words[2];
    }
    std::string fix;
    if (LacksEncryption(reason, request.sslmode)) {
        fix = "-- sslmode=require in the connection string: the source lets this role in only "
              "encrypted, if at all\n";
    }
    if (!provider.empty()) {
        return fix + NetworkFix(provider, request.address);
    }
    const std::string line = AccessLine(request);
    if (!fix.empty()) {
        return fix +
               "-- or this line in the source's pg_hba.conf, above one that rejects; then run "
               "there: SELECT pg_reload_conf();\n-- " +
               line;
    }
    return line + "\n-- in the source's pg_hba.conf, above a line that rejects; then run there: "
                  "SELECT pg_reload_conf();";
}

} // namespace livemigrate
