#include "core/key_definition.hpp"

#include "core/definition_scan.hpp"
#include "core/sql_text.hpp"

namespace livemigrate {

namespace {

// The first position of `word` outside of quotes, from `at` on; npos if there is none.
size_t
FindOutside(std::string_view text, std::string_view word, size_t at) {
    while (at < text.size()) {
        if (text.substr(at, word.size()) == word) {
            return at;
        }
        at = IsQuote(text[at]) ? SkipQuoted(text, at) : at + 1;
    }
    return std::string_view::npos;
}

} // namespace

std::optional<std::string>
KeyWithColumns(std::string_view definition, const std::vector<std::string> &columns) {
    constexpr std::string_view kIndex = "CREATE UNIQUE INDEX ";
    constexpr std::string_view kUsing = " USING ";
    if (definition.starts_with(kIndex)) {
        const size_t method = FindOutside(definition, kUsing, kIndex.size());
        if (method == std::string_view::npos) {
            return std::nullopt;
        }
        definition.remove_prefix(method + 1);
    } else if (!definition.starts_with("PRIMARY KEY ") && !definition.starts_with("UNIQUE ")) {
        return std::nullopt;
    }
    const size_t open = FindOutside(definition, "(", 0);
    const size_t closing = open == std::string_view::npos ? open : FindClosing(definition, open);
    if (closing == std::string_view::npos ||
        definition.substr(0, closing).ends_with(" WITHOUT OVERLAPS")) {
        return std::nullopt;
    }
    std::string key(definition.substr(0, closing));
    for (const std::string &column : columns) {
        key += ", " + QuoteIdentifier(column);
    }
    return key.append(definition.substr(closing));
}

} // namespace livemigrate
