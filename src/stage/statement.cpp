#include "stage/statement.hpp"

#include "pg/guard.hpp"
#include "pg/spi.hpp"

namespace livemigrate::stage {

std::vector<Statement>
SplitStatements(const std::string &sql) {
    const List *raw = pg::Call([&] { return pg_parse_query(sql.c_str()); });
    std::vector<Statement> statements;
    const ListCell *cell = nullptr;
    foreach (cell, raw) {
        const auto *statement = static_cast<const RawStmt *>(lfirst(cell));
        const auto start = static_cast<size_t>(statement->stmt_location);
        const size_t length = statement->stmt_len == 0 ? sql.size() - start
                                                       : static_cast<size_t>(statement->stmt_len);
        statements.push_back({statement->stmt, std::string_view(sql).substr(start, length)});
    }
    return statements;
}

namespace {

// Passwords stand in the options of servers, user mappings and subscriptions; the text goes into
// events and reports.
std::string
WithoutSecrets(std::string_view text) {
    std::string shown = Excerpt(text, 2000);
    for (const char *kind :
         {"SERVER ", "USER MAPPING ", "SUBSCRIPTION ", "FOREIGN DATA WRAPPER "}) {
        for (const char *verb : {"CREATE ", "ALTER "}) {
            if (shown.starts_with(std::string(verb) + kind)) {
                for (const char *secret : {" OPTIONS ", " CONNECTION "}) {
                    const size_t begin = shown.find(secret);
                    shown = begin == std::string::npos ? shown : shown.substr(0, begin) + " ...";
                }
            }
        }
    }
    return shown;
}

} // namespace

void
ExecuteStatement(std::string_view text) {
    try {
        pg::Execute(std::string(text));
    } catch (const Error &error) {
        const std::string where = "statement of the source's schema: " + WithoutSecrets(text);
        throw Error(error.sqlstate(), error.message())
            .Detail(error.detail())
            .Hint(error.hint())
            .Context(where);
    }
}

std::string
Excerpt(std::string_view text, size_t limit) {
    // Comments that pg_dump puts before a statement are not part of it.
    std::string line;
    bool in_comment = false;
    for (size_t i = 0; i < text.size() && line.size() < limit; i++) {
        if (line.empty() && text.substr(i, 2) == "--") {
            in_comment = true;
        }
        if (text[i] == '\n') {
            in_comment = false;
        }
        const bool blank = text[i] == '\n' || text[i] == ' ' || text[i] == '\t';
        if (!in_comment && !(blank && (line.empty() || line.back() == ' '))) {
            line += blank ? ' ' : text[i];
        }
    }
    if (line.size() >= limit) {
        // Not within a multi-byte character.
        while (!line.empty() && (static_cast<unsigned char>(line.back()) & 0xC0) == 0x80) {
            line.pop_back();
        }
        if (!line.empty() && (static_cast<unsigned char>(line.back()) & 0x80) != 0) {
            line.pop_back();
        }
        line += " ...";
    }
    return line;
}

bool
IsIgnoredSetting(const Node *node) {
    if (!IsA(node, VariableSetStmt)) {
        return false;
    }
    const auto *set = reinterpret_cast<const VariableSetStmt *>(node);
    if (set->name == nullptr) {
        return false;
    }
    static constexpr std::string_view kIgnored[] = {"client_encoding",
                                                    "statement_timeout",
                                                    "lock_timeout",
                                                    "idle_in_transaction_session_timeout",
                                                    "transaction_timeout",
                                                    "client_min_messages",
                                                    "row_security",
                                                    "xmloption",
                                                    "standard_conforming_strings",
                                                    "check_function_bodies"};
    for (const std::string_view ignored : kIgnored) {
        if (ignored == set->name) {
            return true;
        }
    }
    return false;
}

} // namespace livemigrate::stage
