#include "core/table_pattern.hpp"

#include "core/error.hpp"

#include <algorithm>

namespace livemigrate {

namespace {

[[noreturn]] void
ThrowBadPattern(std::string_view text, std::string_view reason) {
    throw Error(sqlstate::kInvalidParameterValue,
                "invalid table pattern \"" + std::string(text) + "\"")
        .Detail(std::string(reason))
        .Hint("Write schema.table, for example public.orders, public.log_* or "
              "\"My.Schema\".\"Table\".");
}

// Bytes of the character that begins `name`: a UTF-8 sequence as far as it goes, else one byte.
size_t
CharacterLength(std::string_view name) {
    auto is_continuation = [](char byte) {
        return (static_cast<unsigned char>(byte) & 0xc0) == 0x80;
    };
    size_t length = 1;
    if ((static_cast<unsigned char>(name[0]) & 0xc0) == 0xc0) {
        while (length < name.size() && length < 4 && is_continuation(name[length])) {
            ++length;
        }
    }
    return length;
}

} // namespace

TablePattern
TablePattern::Parse(std::string_view text) {
    using Kind = Token::Kind;
    TablePattern pattern;
    pattern.text_ = text;
    Glob *part = &pattern.schema_;
    bool quoted = false;
    for (size_t i = 0; i < text.size(); ++i) {
        const char byte = text[i];
        if (byte == '"' && quoted && i + 1 < text.size() && text[i + 1] == '"') {
            part->push_back({Kind::kLiteral, '"'});
            ++i;
        } else if (byte == '"') {
            quoted = !quoted;
        } else if (quoted) {
            part->push_back({Kind::kLiteral, byte});
        } else if (byte == '.' && part == &pattern.table_) {
            ThrowBadPattern(text, "It has more than two parts; a name with a dot in it must stand "
                                  "in double quotes.");
        } else if (byte == '.') {
            part = &pattern.table_;
        } else if (byte == '*') {
            part->push_back({Kind::kAnyRun, byte});
        } else {
            part->push_back({byte == '?' ? Kind::kAnyCharacter : Kind::kLiteral, byte});
        }
    }
    if (quoted) {
        ThrowBadPattern(text, "A double quote is not closed.");
    }
    if (part == &pattern.schema_) {
        ThrowBadPattern(text, "The dot between schema and table is missing.");
    }
    if (pattern.schema_.empty() || pattern.table_.empty()) {
        ThrowBadPattern(text, "The schema or the table is empty.");
    }
    return pattern;
}

bool
TablePattern::Matches(std::string_view schema, std::string_view table) const {
    return GlobMatches(schema_, schema) && GlobMatches(table_, table);
}

// Goes through both once; after a mismatch the last `*` takes one character more. Never worse than
// the product of the lengths.
bool
TablePattern::GlobMatches(const Glob &glob, std::string_view name) {
    constexpr size_t kNone = static_cast<size_t>(-1);
    size_t token = 0;
    size_t at = 0;
    size_t run_token = kNone; // behind the last `*` ...
    size_t run_at = 0;        // ... which takes everything before this
    while (at < name.size()) {
        if (token < glob.size() && glob[token].kind == Token::Kind::kAnyRun) {
            run_token = ++token;
            run_at = at;
        } else if (token < glob.size() && glob[token].kind == Token::Kind::kAnyCharacter) {
            ++token;
            at += CharacterLength(name.substr(at));
        } else if (token < glob.size() && glob[token].byte == name[at]) {
            ++token;
            ++at;
        } else if (run_token != kNone) {
            run_at += CharacterLength(name.substr(run_at));
            at = run_at;
            token = run_token;
        } else {
            return false;
        }
    }
    return std::all_of(glob.begin() + static_cast<std::ptrdiff_t>(token), glob.end(),
                       [](const Token &rest) { return rest.kind == Token::Kind::kAnyRun; });
}

std::vector<TablePattern>
ParseTablePatterns(std::span<const std::string> texts) {
    std::vector<TablePattern> patterns;
    patterns.reserve(texts.size());
    for (const std::string &text : texts) {
        patterns.push_back(TablePattern::Parse(text));
    }
    return patterns;
}

bool
TableFilter::Selects(std::string_view schema, std::string_view table) const {
    auto matches = [&](const TablePattern &pattern) { return pattern.Matches(schema, table); };
    if (include && std::none_of(include->begin(), include->end(), matches)) {
        return false;
    }
    return std::none_of(exclude.begin(), exclude.end(), matches);
}

} // namespace livemigrate
