// Which tables a migration takes: include_tables, exclude_tables, exclude_table_data.
//
// A pattern is schema.table. In both parts `*` stands for any run of characters, also none, and `?`
// for one character; the rest is compared as written, with case. What stands in double quotes is
// literal, dots and wildcards too, and "" in it is one quote: "my.schema"."Odd*Name".
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace livemigrate {

class TablePattern {
  public:
    // Throws Error 22023, with a hint that shows a right pattern, for a missing or second dot, an
    // empty part or an unbalanced quote.
    static TablePattern Parse(std::string_view text);

    bool Matches(std::string_view schema, std::string_view table) const;

    // As the user wrote it.
    const std::string &
    text() const {
        return text_;
    }

  private:
    struct Token {
        enum class Kind : uint8_t { kLiteral, kAnyCharacter, kAnyRun } kind;
        char byte; // kLiteral
    };
    using Glob = std::vector<Token>;

    static bool GlobMatches(const Glob &glob, std::string_view name);

    std::string text_;
    Glob schema_;
    Glob table_;
};

// Parses each element; throws what TablePattern::Parse throws.
std::vector<TablePattern> ParseTablePatterns(std::span<const std::string> texts);

struct TableFilter {
    std::optional<std::vector<TablePattern>> include; // absent: every table
    std::vector<TablePattern> exclude;                // wins over include

    bool Selects(std::string_view schema, std::string_view table) const;
};

} // namespace livemigrate
