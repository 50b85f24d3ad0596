// What lets our role through the source's pg_hba.conf.
#include "pg/prelude.hpp"

#include "stage/preflight_run.hpp"

#include "core/sql_text.hpp"

#include <vector>

namespace livemigrate::stage {

namespace {

constexpr char kFile[] = "pg_hba.conf";

// What stands in double quotes behind the file's name: host, role and database, in any language of
// the server's.
std::vector<std::string>
QuotedWords(const std::string &text) {
    std::vector<std::string> words;
    size_t at = text.find(kFile);
    while (at != std::string::npos && (at = text.find('"', at)) != std::string::npos) {
        const size_t end = text.find('"', at + 1);
        if (end == std::string::npos) {
            break;
        }
        words.push_back(text.substr(at + 1, end - at - 1));
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

} // namespace

bool
IsAboutAccess(const Error &error) {
    return error.detail().find(kFile) != std::string::npos;
}

std::string
AccessFix(const Error &error, AccessRequest request) {
    const std::vector<std::string> words = QuotedWords(error.detail());
    if (words.size() >= 2) {
        request.address = words[0];
        request.role = words[1];
    }
    if (words.size() >= 3) {
        request.database = words[2];
    }
    return AccessLine(request) +
           "\n-- in the source's pg_hba.conf, above a line that rejects; then run there: "
           "SELECT pg_reload_conf();";
}

} // namespace livemigrate::stage
