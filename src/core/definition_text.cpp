#include "core/definition_text.hpp"

#include "core/definition_scan.hpp"
#include "core/sql_text.hpp"

#include <utility>
#include <vector>

namespace livemigrate {

namespace {

constexpr std::string_view kArrayOpening = "(ARRAY[";
// Deeper nested text is not looked into: it is recursed over, and no parser prints it.
constexpr size_t kMaxDepth = 200;

bool
IsBlank(char byte) {
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

bool
IsTooDeep(std::string_view text) {
    size_t depth = 0;
    for (size_t at = 0; at < text.size() && depth <= kMaxDepth;) {
        if (IsQuote(text[at])) {
            at = SkipQuoted(text, at);
            continue;
        }
        if (text[at] == '(' || text[at] == '[') {
            depth++;
        } else if ((text[at] == ')' || text[at] == ']') && depth > 0) {
            depth--;
        }
        at++;
    }
    return depth > kMaxDepth;
}

// `text` cut at each `separator` that stands outside of quotes and brackets.
std::vector<std::string_view>
SplitOutside(std::string_view text, std::string_view separator) {
    std::vector<std::string_view> parts;
    size_t begin = 0;
    for (size_t at = 0; at < text.size();) {
        if (IsQuote(text[at])) {
            at = SkipQuoted(text, at);
        } else if (text[at] == '(' || text[at] == '[') {
            const size_t closing = FindClosing(text, at);
            at = closing == std::string_view::npos ? text.size() : closing + 1;
        } else if (text.substr(at, separator.size()) == separator) {
            parts.push_back(text.substr(begin, at - begin));
            at += separator.size();
            begin = at;
        } else {
            at++;
        }
    }
    parts.push_back(text.substr(begin));
    return parts;
}

std::string
CollapseBlanks(std::string_view text) {
    std::string result;
    result.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
        if (IsQuote(text[at])) {
            const size_t end = SkipQuoted(text, at);
            result += text.substr(at, end - at);
            at = end;
        } else if (IsBlank(text[at])) {
            if (!result.empty() && result.back() != ' ' && result.back() != '(') {
                result += ' ';
            }
            at++;
        } else {
            if (text[at] == ')' && !result.empty() && result.back() == ' ') {
                result.pop_back();
            }
            result += text[at++];
        }
    }
    while (!result.empty() && result.back() == ' ') {
        result.pop_back();
    }
    return result;
}

// Moves the cast of an array to its elements; `at` is the position of "(ARRAY[". Returns false if
// the text there is something else.
bool
MoveCast(std::string &text, size_t at) {
    const std::string_view view = text;
    const size_t opening = at + kArrayOpening.size() - 1;
    const size_t closing = FindClosing(view, opening);
    if (closing == std::string_view::npos || view.substr(closing, 4) != "])::") {
        return false;
    }
    const size_t type_begin = closing + 4;
    const size_t type_end = view.find("[]", type_begin);
    if (type_end == std::string_view::npos ||
        view.substr(type_begin, type_end - type_begin).find_first_of("[]();'") !=
            std::string_view::npos) {
        return false;
    }
    const std::string type(view.substr(type_begin, type_end - type_begin));
    std::string array = "ARRAY[";
    for (const std::string_view element :
         SplitOutside(view.substr(opening + 1, closing - opening - 1), ", ")) {
        array += array.back() == '[' ? "(" : ", (";
        array.append(element) += ")::" + type;
    }
    text.replace(at, type_end + 2 - at, array + "]");
    return true;
}

std::string
MoveCasts(std::string text) {
    for (size_t at = 0; at < text.size();) {
        if (IsQuote(text[at])) {
            at = SkipQuoted(text, at);
        } else {
            if (text.compare(at, kArrayOpening.size(), kArrayOpening) == 0) {
                MoveCast(text, at);
            }
            at++;
        }
    }
    return text;
}

// Whether the whole of `text` is one group in parentheses.
bool
IsGroup(std::string_view text) {
    return !text.empty() && text.front() == '(' && FindClosing(text, 0) == text.size() - 1;
}

std::string FlattenGroups(std::string_view text);

// The inside of a group: a first operand that is a chain of the same operator loses its
// parentheses.
std::string
FlattenChain(std::string_view inside) {
    const std::string flat = FlattenGroups(inside);
    for (const std::string_view separator : {" AND ", " OR "}) {
        const std::vector<std::string_view> operands = SplitOutside(flat, separator);
        if (operands.size() > 1 && IsGroup(operands[0])) {
            const std::string_view first = operands[0].substr(1, operands[0].size() - 2);
            if (SplitOutside(first, separator).size() > 1) {
                return std::string(first) + flat.substr(operands[0].size());
            }
        }
    }
    return flat;
}

std::string
FlattenGroups(std::string_view text) {
    std::string result;
    for (size_t at = 0; at < text.size();) {
        size_t end = at + 1;
        if (IsQuote(text[at])) {
            end = SkipQuoted(text, at);
        } else if (text[at] == '(') {
            const size_t closing = FindClosing(text, at);
            if (closing != std::string_view::npos) {
                result += '(' + FlattenChain(text.substr(at + 1, closing - at - 1)) + ')';
                at = closing + 1;
                continue;
            }
        }
        result += text.substr(at, end - at);
        at = end;
    }
    return result;
}

// The position behind the name that begins at `at`, which may be quoted; `at` if there is none.
size_t
SkipName(std::string_view text, size_t at) {
    if (at < text.size() && text[at] == '"') {
        do {
            at = SkipQuoted(text, at);
        } while (at < text.size() && text[at] == '"');
        return at;
    }
    if (at < text.size() && text[at] >= '0' && text[at] <= '9') {
        return at;
    }
    while (at < text.size() && IsNameByte(text[at])) {
        at++;
    }
    return at;
}

std::string
Unqualify(std::string_view text) {
    std::string result;
    for (size_t at = 0; at < text.size();) {
        const size_t name_end = SkipName(text, at);
        if (name_end > at) {
            const bool qualifies = name_end + 1 < text.size() && text[name_end] == '.' &&
                                   SkipName(text, name_end + 1) > name_end + 1;
            if (!qualifies) {
                result += text.substr(at, name_end - at);
            }
            at = qualifies ? name_end + 1 : name_end;
            continue;
        }
        size_t end = at + 1;
        if (text[at] == '\'') {
            end = SkipQuoted(text, at);
        } else {
            // A number is no name, nor are its digits.
            while (end < text.size() && IsNameByte(text[at]) && IsNameByte(text[end])) {
                end++;
            }
        }
        result += text.substr(at, end - at);
        at = end;
    }
    return result;
}

} // namespace

std::string
CanonicalDefinition(std::string_view text, bool unqualify) {
    std::string result = CollapseBlanks(text);
    if (!IsTooDeep(result)) {
        result = FlattenGroups(MoveCasts(std::move(result)));
    }
    ReplaceAll(result, " EXECUTE PROCEDURE ", " EXECUTE FUNCTION ");
    return unqualify ? Unqualify(result) : result;
}

} // namespace livemigrate
