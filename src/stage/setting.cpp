#include "stage/setting.hpp"

#include "core/error.hpp"
#include "core/retry_policy.hpp"
#include "core/sql_text.hpp"
#include "pg/spi.hpp"
#include "pg/subtransaction.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <vector>

namespace livemigrate::stage {

namespace {

// Settings whose value is a list of quoted names (GUC_LIST_QUOTE): pg_dump's
// variable_is_guc_list_quote(), and output_plugin_libraries of the minor releases of 2026.
constexpr std::array<std::string_view, 7> kListSettings = {
    "local_preload_libraries",   "output_plugin_libraries",  "search_path",
    "session_preload_libraries", "shared_preload_libraries", "temp_tablespaces",
    "unix_socket_directories"};

// The elements of a flattened list of names: a, "b c", "d""e". nullopt where it is none.
std::optional<std::vector<std::string>>
SplitList(std::string_view text) {
    std::vector<std::string> elements;
    size_t at = 0;
    auto skip_blanks = [&] {
        at = std::min(text.find_first_not_of(" \t\n\r\f\v", at), text.size());
    };
    skip_blanks();
    while (at < text.size()) {
        std::string element;
        if (text[at] == '"') {
            for (at++;; at++) {
                if (at >= text.size()) {
                    return std::nullopt; // no closing quote
                }
                if (text[at] != '"') {
                    element += text[at];
                } else if (text.substr(at + 1, 1) == "\"") {
                    element += text[at++];
                } else {
                    at++;
                    break;
                }
            }
        } else {
            const size_t end = std::min(text.find_first_of(", \t\n\r\f\v", at), text.size());
            element = text.substr(at, end - at);
            at = end;
        }
        elements.push_back(std::move(element));
        skip_blanks();
        if (at < text.size() && text[at++] != ',') {
            return std::nullopt;
        }
        skip_blanks();
    }
    return elements;
}

} // namespace

std::string
SettingValue(const std::string &name, const std::string &value) {
    if (std::find(kListSettings.begin(), kListSettings.end(), name) == kListSettings.end()) {
        return QuoteLiteral(value);
    }
    const auto elements = SplitList(value);
    if (!elements || elements->empty()) {
        return QuoteLiteral(value);
    }
    std::string list;
    for (const std::string &element : *elements) {
        list += (list.empty() ? "" : ", ") + QuoteLiteral(element);
    }
    return list;
}

std::string
TryStatement(const std::string &sql) {
    try {
        pg::Subtransaction subtransaction;
        pg::Execute(sql);
        subtransaction.Commit();
        return "";
    } catch (const Error &error) {
        if (IsTransient(error.sqlstate()) || error.sqlstate() == sqlstate::kQueryCanceled) {
            throw;
        }
        return error.message();
    }
}

} // namespace livemigrate::stage
