#include "core/dump_text.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <string>

namespace livemigrate {

namespace {

constexpr std::string_view kRestrict = "\\restrict ";
constexpr std::string_view kUnrestrict = "\\unrestrict ";

// The line that begins at `start`, without its newline.
std::string_view
LineAt(std::string_view text, size_t start) {
    return text.substr(start, text.find('\n', start) - start);
}

bool
IsBlank(std::string_view line) {
    return line.find_first_not_of(" \t\r\f\v") == std::string_view::npos;
}

bool
IsToken(std::string_view token) {
    return !token.empty() && std::all_of(token.begin(), token.end(), [](char byte) {
        return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
               (byte >= '0' && byte <= '9');
    });
}

// Where the first line begins that is neither blank nor a comment; text.size() if none is.
size_t
SkipComments(std::string_view text) {
    size_t start = 0;
    while (start < text.size()) {
        const std::string_view line = LineAt(text, start);
        if (!IsBlank(line) && !line.starts_with("--")) {
            return start;
        }
        start = std::min(text.size(), start + line.size() + 1);
    }
    return start;
}

[[noreturn]] void
ThrowUnexpected(std::string_view line) {
    constexpr size_t kShown = 60;
    throw Error(sqlstate::kProtocolViolation, "unexpected psql meta-command in the dump")
        .Detail("The line begins with \"" + std::string(line.substr(0, kShown)) + "\".")
        .Hint("Install a current minor release of the target's PostgreSQL client programs.");
}

// `body` up to the closing line, which must be the last that is not blank.
std::string_view
StripUnrestrict(std::string_view body, std::string_view token) {
    const size_t end = body.find_last_not_of(" \t\r\n\f\v");
    const std::string_view trimmed = body.substr(0, end == body.npos ? 0 : end + 1);
    const size_t newline = trimmed.rfind('\n');
    const size_t start = newline == trimmed.npos ? 0 : newline + 1;
    const std::string_view line = trimmed.substr(start);
    if (!line.starts_with(kUnrestrict) || line.substr(kUnrestrict.size()) != token) {
        throw Error(sqlstate::kProtocolViolation, "the dump is incomplete")
            .Detail("It does not end with the \\unrestrict line that belongs to its first line.");
    }
    return body.substr(0, start);
}

} // namespace

std::string_view
StripMetaCommands(std::string_view text) {
    const size_t first = SkipComments(text);
    std::string_view line = LineAt(text, first);
    if (!line.starts_with('\\')) {
        return text;
    }
    if (!line.starts_with(kRestrict) || !IsToken(line.substr(kRestrict.size()))) {
        ThrowUnexpected(line);
    }
    const size_t behind = std::min(text.size(), first + line.size() + 1);
    const std::string_view statements =
        StripUnrestrict(text.substr(behind), line.substr(kRestrict.size()));
    line = LineAt(statements, SkipComments(statements));
    if (line.starts_with('\\')) {
        ThrowUnexpected(line);
    }
    return statements;
}

} // namespace livemigrate
