#include "pg/prelude.hpp"

#include "control/hypertable_options.hpp"

#include "core/error.hpp"
#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

#include <algorithm>
#include <charconv>
#include <functional>
#include <map>

namespace livemigrate::control {

namespace {

constexpr int kMaxPartitions = 32767; // as create_hypertable takes it

[[noreturn]] void
ThrowWrong(size_t entry, const std::string &what, const std::string &hint) {
    throw Error(sqlstate::kInvalidParameterValue,
                "entry " + std::to_string(entry) + " of option \"hypertables\" " + what)
        .Hint(hint);
}

// schema.table or, in schema public, table: names as they are, or quoted as in SQL.
void
ReadTable(HypertableOption &option, const std::string &text, size_t entry) {
    if (text.find('"') == std::string::npos) {
        const size_t dot = text.find('.');
        option.schema = dot == std::string::npos ? "public" : text.substr(0, dot);
        option.table = dot == std::string::npos ? text : text.substr(dot + 1);
    } else {
        pg::SqlResult parts;
        try {
            parts = pg::Query("SELECT p[1], p[2], pg_catalog.cardinality(p) FROM "
                              "(SELECT pg_catalog.parse_ident($1) AS p) AS t",
                              {text});
        } catch (const Error &error) {
            ThrowWrong(entry, "has no table name: " + text, error.message());
        }
        const pg::SqlRow &row = parts.rows.at(0);
        const bool qualified = pg::Number<int>(row, 2) == 2;
        option.schema = qualified ? pg::Text(row, 0) : "public";
        option.table = pg::Text(row, qualified ? 1 : 0);
    }
    if (option.schema.empty() || option.table.empty()) {
        ThrowWrong(entry, "has no table name: \"" + text + "\"", "Write schema.table.");
    }
}

struct Key {
    const char *types; // of the JSON value
    std::function<void(HypertableOption &, const std::string &, size_t)> read;
};

const std::map<std::string, Key> &
Keys() {
    static const auto *keys = new std::map<std::string, Key>{
        {"chunk_interval",
         {"string or number", [](HypertableOption &option, const std::string &value,
                                 size_t) { option.chunk_interval = value; }}},
        {"default_index",
         {"boolean", [](HypertableOption &option, const std::string &value,
                        size_t) { option.default_index = value == "true"; }}},
        {"partition_column",
         {"string", [](HypertableOption &option, const std::string &value,
                       size_t) { option.partition_column = value; }}},
        {"partitions",
         {"number",
          [](HypertableOption &option, const std::string &value, size_t entry) {
              const char *end = value.data() + value.size();
              const auto parsed = std::from_chars(value.data(), end, option.partitions);
              if (parsed.ec != std::errc() || parsed.ptr != end || option.partitions < 1 ||
                  option.partitions > kMaxPartitions) {
                  ThrowWrong(entry, "has partitions out of range: " + value,
                             "Give a whole number from 1 to " + std::to_string(kMaxPartitions) +
                                 ".");
              }
          }}},
        {"table", {"string", ReadTable}},
        {"time_column",
         {"string", [](HypertableOption &option, const std::string &value,
                       size_t) { option.time_column = value; }}},
    };
    return *keys;
}

std::string
KnownKeys() {
    std::string names;
    for (const auto &[name, key] : Keys()) {
        names += (names.empty() ? "" : ", ") + name;
    }
    return "Valid keys are: " + names + ".";
}

void
CheckComplete(const HypertableOption &option, size_t entry) {
    if (option.table.empty() || option.time_column.empty()) {
        ThrowWrong(entry,
                   std::string("lacks key ") + (option.table.empty() ? "table" : "time_column"),
                   "For example: {\"table\": \"public.metrics\", \"time_column\": \"time\"}");
    }
    if (option.partition_column.empty() != (option.partitions == 0)) {
        ThrowWrong(entry, "needs both of partition_column and partitions, or neither",
                   "For example: \"partition_column\": \"device\", \"partitions\": 4");
    }
}

} // namespace

std::vector<HypertableOption>
ReadHypertables(const std::string &options_json) {
    const pg::SqlResult entries =
        pg::Query("SELECT n, pg_catalog.jsonb_typeof(e), e FROM pg_catalog.jsonb_array_elements("
                  "$1::jsonb->'hypertables') WITH ORDINALITY AS u(e, n) ORDER BY n",
                  {options_json});
    std::vector<HypertableOption> options;
    for (const pg::SqlRow &entry : entries.rows) {
        const auto number = pg::Number<size_t>(entry, 0);
        if (pg::Text(entry, 1) != "object") {
            ThrowWrong(number, "is not a JSON object", KnownKeys());
        }
        HypertableOption option;
        const pg::SqlResult keys =
            pg::Query("SELECT key, pg_catalog.jsonb_typeof(value), value #>> '{}' "
                      "FROM pg_catalog.jsonb_each($1::jsonb)",
                      {pg::Text(entry, 2)});
        for (const pg::SqlRow &row : keys.rows) {
            const std::string name = pg::Text(row, 0);
            const auto key = Keys().find(name);
            if (key == Keys().end()) {
                ThrowWrong(number, "has an unknown key \"" + name + "\"", KnownKeys());
            }
            const std::string types = key->second.types;
            if (types.find(pg::Text(row, 1)) == std::string::npos) {
                ThrowWrong(number, "has a value of \"" + name + "\" that is no " + types,
                           KnownKeys());
            }
            key->second.read(option, pg::Text(row, 2), number);
        }
        CheckComplete(option, number);
        const bool twice = std::any_of(options.begin(), options.end(), [&](const auto &other) {
            return other.schema == option.schema && other.table == option.table;
        });
        if (twice) {
            ThrowWrong(number, "names " + QualifiedName(option.schema, option.table) + " again",
                       "Name each table once.");
        }
        options.push_back(std::move(option));
    }
    return options;
}

} // namespace livemigrate::control
