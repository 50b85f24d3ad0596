#include "core/definition_scan.hpp"

namespace livemigrate {

bool
IsQuote(char byte) {
    return byte == '\'' || byte == '"';
}

bool
IsNameByte(char byte) {
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '_' || byte == '$' ||
           (static_cast<unsigned char>(byte) & 0x80) != 0;
}

size_t
SkipQuoted(std::string_view text, size_t at) {
    const char quote = text[at];
    const bool escapes =
        quote == '\'' && at > 0 && text[at - 1] == 'E' && (at == 1 || !IsNameByte(text[at - 2]));
    for (at++; at < text.size(); at++) {
        if (escapes && text[at] == '\\') {
            at++;
        } else if (text[at] == quote) {
            return at + 1;
        }
    }
    return text.size();
}

size_t
FindClosing(std::string_view text, size_t open) {
    size_t depth = 0;
    for (size_t at = open; at < text.size();) {
        if (IsQuote(text[at])) {
            at = SkipQuoted(text, at);
            continue;
        }
        if (text[at] == '(' || text[at] == '[') {
            depth++;
        } else if (text[at] == ')' || text[at] == ']') {
            if (--depth == 0) {
                return at;
            }
        }
        at++;
    }
    return std::string_view::npos;
}

} // namespace livemigrate
