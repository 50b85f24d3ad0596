#include "core/call_hint.hpp"

#include "core/sql_text.hpp"

#include <array>

namespace livemigrate {

namespace {

struct Call {
    std::string_view name;
    bool migration_is_first; // else it is given by name, behind what is there
};

constexpr auto kCalls = std::to_array<Call>({
    {"compare_data", true},
    {"compare_rows", true},
    {"compare_schema", true},
    {"copy_large_objects", true},
    {"copy_sequences", true},
    {"cutover_check", true},
    {"dashboard", true},
    {"migration_abort", true},
    {"migration_cleanup", true},
    {"migration_pause", true},
    {"migration_report", true},
    {"migration_resume", true},
    {"migration_status", true},
    {"migration_wait", false},
    {"set_endpos", false},
    {"skip_transaction", false},
});

bool
IsWordCharacter(char byte) {
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '_';
}

// The call whose name ends right before the parenthesis at `open`, or nullptr.
const Call *
CallBefore(std::string_view hint, size_t open) {
    for (const Call &call : kCalls) {
        const size_t length = call.name.size();
        if (open >= length && hint.substr(open - length, length) == call.name &&
            (open == length || !IsWordCharacter(hint[open - length - 1]))) {
            return &call;
        }
    }
    return nullptr;
}

// What the call's arguments become. `given` is what stands between its parentheses.
std::string
Arguments(const Call &call, std::string_view given, std::string_view migration) {
    const std::string name = QuoteLiteral(migration);
    if (given.find("migration =>") != std::string_view::npos) {
        return std::string(given);
    }
    if (given.empty()) {
        return call.migration_is_first ? name : "migration => " + name;
    }
    const bool by_name = given.find("=>") != std::string_view::npos;
    if (call.migration_is_first && !by_name) {
        return std::string(given); // the first argument is the migration
    }
    return std::string(given) + ", migration => " + name;
}

} // namespace

std::string
NameMigrationInCalls(std::string_view hint, std::string_view migration) {
    std::string result;
    size_t copied = 0;
    for (size_t open = hint.find('('); open != std::string_view::npos;
         open = hint.find('(', open + 1)) {
        const Call *call = CallBefore(hint, open);
        const size_t close = hint.find(')', open);
        if (call == nullptr || close == std::string_view::npos) {
            continue;
        }
        result += hint.substr(copied, open + 1 - copied);
        result += Arguments(*call, hint.substr(open + 1, close - open - 1), migration);
        copied = close;
    }
    result += hint.substr(copied);
    return result;
}

std::string
Comment(std::string_view text) {
    std::string comment = "-- ";
    for (const char character : text) {
        comment += character;
        if (character == '\n' || character == '\r') {
            comment += "-- ";
        }
    }
    return comment;
}

std::string
MissingTableHint(std::string_view schema, std::string_view name) {
    std::string pattern; // for pg_dump, within single quotes of a shell
    for (const char character : QualifiedName(schema, name)) {
        pattern += character == '\'' ? std::string("'\\''") : std::string(1, character);
    }
    return "Create it as it is on the source (there, pg_dump --schema-only --table='" + pattern +
           "' prints it), then run: SELECT livemigrate.migration_resume();";
}

} // namespace livemigrate
