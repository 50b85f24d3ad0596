#include "pg/prelude.hpp"

#include "control/option_entries.hpp"

#include "core/error.hpp"
#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

#include <charconv>

namespace livemigrate::control {

namespace {

std::string
KnownKeys(const EntryKeys &keys) {
    std::string names;
    for (const auto &[name, key] : keys) {
        names += (names.empty() ? "" : ", ") + name;
    }
    return "Valid keys are: " + names + ".";
}

void
ReadEntry(const std::string &object, const EntryKeys &keys, const OptionEntry &entry) {
    const pg::SqlResult given =
        pg::Query("SELECT key, pg_catalog.jsonb_typeof(value), value #>> '{}' "
                  "FROM pg_catalog.jsonb_each($1::jsonb)",
                  {object});
    for (const pg::SqlRow &row : given.rows) {
        const std::string name = pg::Text(row, 0);
        const auto key = keys.find(name);
        if (key == keys.end()) {
            entry.Refuse("has an unknown key \"" + name + "\"", KnownKeys(keys));
        }
        const std::string types = key->second.types;
        if (types.find(pg::Text(row, 1)) == std::string::npos) {
            entry.Refuse("has a value of \"" + name + "\" that is no " + types, KnownKeys(keys));
        }
        key->second.read(pg::Text(row, 2), entry);
    }
}

} // namespace

void
OptionEntry::Refuse(const std::string &what, const std::string &hint) const {
    throw Error(sqlstate::kInvalidParameterValue,
                "entry " + std::to_string(number) + " of option \"" + option + "\" " + what)
        .Hint(hint);
}

std::pair<std::string, std::string>
ReadTableName(const std::string &text, const OptionEntry &entry) {
    std::string schema = "public";
    std::string table;
    if (text.find('"') == std::string::npos) {
        const size_t dot = text.find('.');
        schema = dot == std::string::npos ? schema : text.substr(0, dot);
        table = dot == std::string::npos ? text : text.substr(dot + 1);
    } else {
        pg::SqlResult parts;
        try {
            parts = pg::Query("SELECT p[1], p[2], pg_catalog.cardinality(p) FROM "
                              "(SELECT pg_catalog.parse_ident($1) AS p) AS t",
                              {text});
        } catch (const Error &error) {
            entry.Refuse("has no table name: " + text, error.message());
        }
        const pg::SqlRow &row = parts.rows.at(0);
        const bool qualified = pg::Number<int>(row, 2) == 2;
        schema = qualified ? pg::Text(row, 0) : schema;
        table = pg::Text(row, qualified ? 1 : 0);
    }
    if (schema.empty() || table.empty()) {
        entry.Refuse("has no table name: \"" + text + "\"", "Write schema.table.");
    }
    return {schema, table};
}

int
ReadCount(const std::string &key, const std::string &value, int most, const OptionEntry &entry) {
    int count = 0;
    const char *end = value.data() + value.size();
    const auto parsed = std::from_chars(value.data(), end, count);
    if (parsed.ec != std::errc() || parsed.ptr != end || count < 1 || count > most) {
        entry.Refuse("has " + key + " out of range: " + value,
                     "Give a whole number from 1 to " + std::to_string(most) + ".");
    }
    return count;
}

void
ReadEntries(const std::string &options_json, const char *option,
            const std::function<EntryKeys()> &begin,
            const std::function<void(const OptionEntry &)> &end) {
    const pg::SqlResult entries =
        pg::Query("SELECT n, pg_catalog.jsonb_typeof(e), e FROM pg_catalog.jsonb_array_elements("
                  "$1::jsonb->$2) WITH ORDINALITY AS u(e, n) ORDER BY n",
                  {options_json, option});
    for (const pg::SqlRow &row : entries.rows) {
        const OptionEntry entry{option, pg::Number<size_t>(row, 0)};
        const EntryKeys keys = begin();
        if (pg::Text(row, 1) != "object") {
            entry.Refuse("is not a JSON object", KnownKeys(keys));
        }
        ReadEntry(pg::Text(row, 2), keys, entry);
        end(entry);
    }
}

} // namespace livemigrate::control
