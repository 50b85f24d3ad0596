#include "pg/prelude.hpp"

#include "control/hypertable_options.hpp"

#include "control/option_entries.hpp"
#include "core/sql_text.hpp"

#include <algorithm>
#include <tuple>

namespace livemigrate::control {

namespace {

constexpr int kMaxPartitions = 32767; // as create_hypertable takes it

EntryKeys
KeysOf(HypertableOption &option) {
    const auto into = [](std::string &field) {
        return [&field](const std::string &value, const OptionEntry &) { field = value; };
    };
    return {
        {"chunk_interval", {"string or number", into(option.chunk_interval)}},
        {"default_index",
         {"boolean", [&](const std::string &value,
                         const OptionEntry &) { option.default_index = value == "true"; }}},
        {"partition_column", {"string", into(option.partition_column)}},
        {"partitions",
         {"number",
          [&](const std::string &value, const OptionEntry &entry) {
              option.partitions = ReadCount("partitions", value, kMaxPartitions, entry);
          }}},
        {"table",
         {"string",
          [&](const std::string &value, const OptionEntry &entry) {
              std::tie(option.schema, option.table) = ReadTableName(value, entry);
          }}},
        {"time_column", {"string", into(option.time_column)}},
    };
}

void
CheckComplete(const HypertableOption &option, const OptionEntry &entry) {
    if (option.table.empty() || option.time_column.empty()) {
        entry.Refuse(std::string("lacks key ") + (option.table.empty() ? "table" : "time_column"),
                     "For example: {\"table\": \"public.metrics\", \"time_column\": \"time\"}");
    }
    if (option.partition_column.empty() != (option.partitions == 0)) {
        entry.Refuse("needs both of partition_column and partitions, or neither",
                     "For example: \"partition_column\": \"device\", \"partitions\": 4");
    }
}

} // namespace

std::vector<HypertableOption>
ReadHypertables(const std::string &options_json) {
    std::vector<HypertableOption> options;
    HypertableOption option;
    const auto begin = [&] {
        option = {};
        return KeysOf(option);
    };
    ReadEntries(options_json, "hypertables", begin, [&](const OptionEntry &entry) {
        CheckComplete(option, entry);
        const bool twice = std::any_of(options.begin(), options.end(), [&](const auto &other) {
            return other.schema == option.schema && other.table == option.table;
        });
        if (twice) {
            entry.Refuse("names " + QualifiedName(option.schema, option.table) + " again",
                         "Name each table once.");
        }
        options.push_back(option);
    });
    return options;
}

} // namespace livemigrate::control
