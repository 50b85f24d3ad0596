#include "core/conninfo.hpp"

#include "core/libpq_option.hpp"

#include <algorithm>
#include <array>
#include <optional>

namespace livemigrate {

namespace {

constexpr auto kUriPrefixes = std::to_array<std::string_view>({"postgresql://", "postgres://"});

// isspace() of the C locale, as libpq's parser sees it.
bool
IsSpace(char byte) {
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

// Whether a value may itself be a connection string or hold a setting with a secret.
bool
LooksSecret(std::string_view value) {
    std::string lower(value);
    std::transform(lower.begin(), lower.end(), lower.begin(), [](char byte) {
        return byte >= 'A' && byte <= 'Z' ? static_cast<char>(byte - 'A' + 'a') : byte;
    });
    return lower.find("password") != lower.npos || lower.find("://") != lower.npos;
}

// Whether the option may be shown.
bool
MayBeShown(std::string_view name, std::string_view value) {
    if (KnowledgeOf(name).is_secret) {
        return false;
    }
    if (name == "dbname" && value.find('=') != value.npos) {
        return false; // another conninfo, as psql takes it
    }
    if (name == "host" && value.find('@', 1) != value.npos) {
        return false; // user:password@host; a leading @ is an abstract socket
    }
    return !LooksSecret(value);
}

// Reads "name = value" pairs as libpq's conninfo_parse does.
class KeywordReader {
  public:
    explicit KeywordReader(std::string_view text) : text_(text) {}

    struct Option {
        std::string_view name;
        std::string_view raw_value; // with its quotes and backslashes
        std::string value;
    };

    // The next option, or nothing at the end of the text or at the first doubtful point.
    std::optional<Option>
    Next() {
        if (at_ > 0 && at_ < text_.size() && !IsSpace(text_[at_ - 1]) && !IsSpace(text_[at_])) {
            return std::nullopt; // something stands right behind a closing quote
        }
        SkipSpaces();
        Option option;
        const size_t start = at_;
        while (at_ < text_.size() && text_[at_] != '=' && !IsSpace(text_[at_])) {
            ++at_;
        }
        option.name = text_.substr(start, at_ - start);
        SkipSpaces();
        if (at_ == text_.size() || text_[at_] != '=') {
            return std::nullopt;
        }
        ++at_;
        const bool spaced = SkipSpaces();
        const size_t value_start = at_;
        const bool complete = ReadValue(option.value);
        option.raw_value = text_.substr(value_start, at_ - value_start);
        // "host= password=x" is a host named "password=x": hardly what was meant.
        const bool swallowed = spaced && option.raw_value.find('=') != option.raw_value.npos &&
                               !option.raw_value.starts_with('\'');
        if (!complete || swallowed) {
            return std::nullopt;
        }
        return option;
    }

  private:
    bool
    SkipSpaces() {
        const size_t start = at_;
        while (at_ < text_.size() && IsSpace(text_[at_])) {
            ++at_;
        }
        return at_ > start;
    }

    // Returns false for a quoted value that is not closed.
    bool
    ReadValue(std::string &value) {
        const bool quoted = at_ < text_.size() && text_[at_] == '\'';
        at_ += quoted ? 1 : 0;
        while (at_ < text_.size()) {
            const char byte = text_[at_];
            if (quoted && byte == '\'') {
                ++at_;
                return true;
            }
            if (!quoted && IsSpace(byte)) {
                return true;
            }
            if (byte == '\\') {
                ++at_;
            }
            if (at_ < text_.size()) {
                value += text_[at_++];
            }
        }
        return !quoted;
    }

    std::string_view text_;
    size_t at_ = 0;
};

std::string
RedactKeywords(std::string_view text) {
    std::string result;
    KeywordReader reader(text);
    while (const auto option = reader.Next()) {
        if (!MayBeShown(option->name, option->value)) {
            continue;
        }
        if (!result.empty()) {
            result += ' ';
        }
        result += option->name;
        result += '=';
        result += option->raw_value;
    }
    return result;
}

bool
IsDigit(char byte) {
    return byte >= '0' && byte <= '9';
}

int
HexDigit(char byte) {
    if (IsDigit(byte)) {
        return byte - '0';
    }
    if (byte >= 'a' && byte <= 'f') {
        return byte - 'a' + 10;
    }
    return byte >= 'A' && byte <= 'F' ? byte - 'A' + 10 : -1;
}

// Nothing for a broken escape and for %00, which libpq refuses too.
std::optional<std::string>
PercentDecode(std::string_view text) {
    std::string decoded;
    for (size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            decoded += text[i];
            continue;
        }
        const int high = i + 2 < text.size() ? HexDigit(text[i + 1]) : -1;
        const int low = i + 2 < text.size() ? HexDigit(text[i + 2]) : -1;
        if (high < 0 || low < 0 || high + low == 0) {
            return std::nullopt;
        }
        decoded += static_cast<char>(high * 16 + low);
        i += 2;
    }
    return decoded;
}

// Whether a user, host list or database may be shown.
bool
PartMayBeShown(std::string_view part) {
    const auto decoded = PercentDecode(part);
    return decoded && !LooksSecret(*decoded);
}

// Whether `hosts` is host[:port],... with numbers for ports: "user:secret" without its "@host" is
// not. An IPv6 address stands in brackets.
bool
IsHostList(std::string_view hosts) {
    constexpr size_t kMaxPortDigits = 5;
    size_t at = 0;
    while (at <= hosts.size()) {
        const size_t end = std::min(hosts.find(',', at), hosts.size());
        std::string_view host = hosts.substr(at, end - at);
        const size_t bracket = host.starts_with('[') ? host.find(']') : 0;
        if (bracket == host.npos) {
            return false;
        }
        const size_t colon = std::min(host.find(':', bracket), host.size());
        if (bracket > 0 && colon != bracket + 1) {
            return false;
        }
        const std::string_view port = host.substr(std::min(colon + 1, host.size()));
        if (port.size() > kMaxPortDigits || !std::all_of(port.begin(), port.end(), IsDigit)) {
            return false;
        }
        at = end + 1;
    }
    return true;
}

// "?name=value&..." of a URI without the secrets; ends at the first doubtful point.
std::string
RedactParameters(std::string_view parameters) {
    std::string result;
    while (!parameters.empty()) {
        const std::string_view pair = parameters.substr(0, parameters.find('&'));
        parameters.remove_prefix(std::min(pair.size() + 1, parameters.size()));
        const size_t equals = pair.find('=');
        if (equals == pair.npos || pair.find('=', equals + 1) != pair.npos) {
            break;
        }
        const auto name = PercentDecode(pair.substr(0, equals));
        const auto value = PercentDecode(pair.substr(equals + 1));
        if (!name || !value) {
            break;
        }
        if (MayBeShown(*name, *value)) {
            result += result.empty() ? '?' : '&';
            result += pair;
        }
    }
    return result;
}

// scheme://[user[:password]@][hosts][/database][?parameters]
//
// libpq takes what stands before the first '@' for credentials if no '/' precedes it. Where an '@'
// or a space occurs elsewhere, a password was not percent-encoded, and how far it goes is anybody's
// guess.
std::string
RedactUri(std::string_view scheme, std::string_view rest) {
    std::string result(scheme);
    const size_t at_sign = rest.find('@');
    if (at_sign != rest.npos) {
        const std::string_view credentials = rest.substr(0, at_sign);
        const std::string_view user = credentials.substr(0, credentials.find(':'));
        rest.remove_prefix(at_sign + 1);
        if (credentials.find('/') != rest.npos || rest.find('@') != rest.npos ||
            user.find_first_of("?=& \t\r\n\f\v") != user.npos || !PartMayBeShown(user)) {
            return result;
        }
        result += user;
        result += user.empty() ? "" : "@";
    }
    rest = rest.substr(0, rest.find_first_of(" \t\r\n\f\v"));

    const std::string_view hosts = rest.substr(0, rest.find_first_of("/?"));
    rest.remove_prefix(hosts.size());
    if (!IsHostList(hosts) || !PartMayBeShown(hosts)) {
        return result;
    }
    result += hosts;

    const std::string_view database = rest.substr(0, rest.find('?'));
    rest.remove_prefix(database.size());
    if (!PartMayBeShown(database)) {
        return result;
    }
    result += database;
    return rest.empty() ? result : result + RedactParameters(rest.substr(1));
}

} // namespace

std::string
RedactConninfo(std::string_view conninfo) {
    conninfo = conninfo.substr(0, conninfo.find('\0'));
    for (std::string_view prefix : kUriPrefixes) {
        if (conninfo.starts_with(prefix)) {
            return RedactUri(prefix, conninfo.substr(prefix.size()));
        }
    }
    return RedactKeywords(conninfo);
}

} // namespace livemigrate
