#include "core/access_fix.hpp"

#include "core/call_hint.hpp"
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

struct Quotes {
    std::string_view open;
    std::string_view close;
};

// As the translations of PostgreSQL's messages have them.
constexpr Quotes kQuotes[] = {{"\"", "\""}, {"»", "«"}, {"«", "»"}, {"„", "“"}, {"“", "”"}};

const Quotes *
OpensAt(std::string_view text, size_t at) {
    const auto found =
        std::find_if(std::begin(kQuotes), std::end(kQuotes), [&](const Quotes &quotes) {
            return text.substr(at).starts_with(quotes.open);
        });
    return found == std::end(kQuotes) ? nullptr : found;
}

std::string
WithoutBlanksAround(std::string_view word) {
    constexpr std::string_view kNoBreakSpace = "\u00a0";
    while (word.starts_with(kNoBreakSpace)) {
        word.remove_prefix(kNoBreakSpace.size());
    }
    while (word.ends_with(kNoBreakSpace)) {
        word.remove_suffix(kNoBreakSpace.size());
    }
    return std::string(word);
}

// What stands in quotes behind the file's name, on its line: host, role and database. The next line
// is of another attempt.
std::vector<std::string>
QuotedWords(std::string_view text) {
    std::vector<std::string> words;
    text.remove_prefix(std::min(text.find(kFile), text.size()));
    text = text.substr(0, text.find("\nconnection to server"));
    for (size_t at = 0; at < text.size(); at++) {
        const Quotes *quotes = OpensAt(text, at);
        if (quotes == nullptr) {
            continue;
        }
        const size_t begin = at + quotes->open.size();
        const size_t end = text.find(quotes->close, begin);
        if (end == std::string_view::npos) {
            break;
        }
        words.push_back(WithoutBlanksAround(text.substr(begin, end - begin)));
        at = end + quotes->close.size() - 1;
    }
    return words;
}

std::string
AccessLine(const AccessRequest &request) {
    const std::string who =
        QuoteIdentifier(request.database) + " " + QuoteIdentifier(request.role) + " ";
    if (request.address == "[local]" || (request.address.empty() && !request.by_network)) {
        return "local " + who + "peer";
    }
    if (request.address.empty()) {
        return "host " + who + "<address of the target's server>/32 scram-sha-256";
    }
    const bool is_v6 = request.address.find(':') != std::string::npos;
    return "host " + who + request.address + (is_v6 ? "/128" : "/32") + " scram-sha-256";
}

// The server is not trusted yet, and what it says becomes part of lines that are meant to be
// pasted.
bool
HasControlCharacter(const std::string &word) {
    return std::any_of(word.begin(), word.end(),
                       [](unsigned char c) { return std::iscntrl(c) != 0; });
}

bool
IsAddress(std::string_view word) {
    constexpr std::string_view kCharacters = "0123456789abcdefABCDEF:.";
    return word == "[local]" || word.find_first_not_of(kCharacters) == std::string_view::npos;
}

void
TakeFromReason(std::string_view reason, AccessRequest &request) {
    const std::vector<std::string> words = QuotedWords(reason);
    if (words.size() < 2 || !IsAddress(words[0]) ||
        std::any_of(words.begin(), words.end(), HasControlCharacter)) {
        return;
    }
    request.address = words[0];
    request.role = words[1];
    if (words.size() >= 3) {
        request.database = words[2];
    }
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
    return Comment("at " + std::string(provider) + " add " +
                   (address.empty() ? "the address of the target's server" : std::string(address)) +
                   " to " + std::string(list));
}

bool
IsAboutAccess(std::string_view reason) {
    return Contains(reason, kFile);
}

std::string
AccessFix(std::string_view provider, std::string_view reason, AccessRequest request) {
    TakeFromReason(reason, request);
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
               "there: SELECT pg_reload_conf();\n" +
               Comment(line);
    }
    return line + "\n-- in the source's pg_hba.conf, above a line that rejects; then run there: "
                  "SELECT pg_reload_conf();";
}

} // namespace livemigrate
