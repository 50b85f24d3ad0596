#include "pg/prelude.hpp"

#include "control/distribution_options.hpp"

#include "control/option_entries.hpp"
#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

#include <algorithm>
#include <tuple>

namespace livemigrate::control {

namespace {

constexpr int kMaxShards = 64000; // as create_distributed_table takes it

using Options = std::vector<DistributionOption>;

void
Add(Options &options, const DistributionOption &option, const OptionEntry &entry) {
    const bool twice = std::any_of(options.begin(), options.end(), [&](const auto &other) {
        return other.schema == option.schema && other.table == option.table;
    });
    if (twice) {
        entry.Refuse("names " + QualifiedName(option.schema, option.table) + " again",
                     "Name each table once, as a distributed or as a reference table.");
    }
    options.push_back(option);
}

void
ReadReferenceTables(const std::string &options_json, Options &options) {
    const pg::SqlResult entries =
        pg::Query("SELECT n, pg_catalog.jsonb_typeof(e), e #>> '{}' FROM "
                  "pg_catalog.jsonb_array_elements($1::jsonb->'reference_tables') "
                  "WITH ORDINALITY AS u(e, n) ORDER BY n",
                  {options_json});
    for (const pg::SqlRow &row : entries.rows) {
        const OptionEntry entry{"reference_tables", pg::Number<size_t>(row, 0)};
        if (pg::Text(row, 1) != "string") {
            entry.Refuse("is not a JSON string", "Write schema.table.");
        }
        DistributionOption option;
        std::tie(option.schema, option.table) = ReadTableName(pg::Text(row, 2), entry);
        Add(options, option, entry);
    }
}

EntryKeys
KeysOf(DistributionOption &option) {
    return {
        {"colocate_with",
         {"string",
          [&](const std::string &value, const OptionEntry &entry) {
              option.colocate_none = value == "none";
              if (!option.colocate_none) {
                  std::tie(option.colocate_schema, option.colocate_table) =
                      ReadTableName(value, entry);
              }
          }}},
        {"column",
         {"string", [&](const std::string &value, const OptionEntry &) { option.column = value; }}},
        {"shard_count",
         {"number",
          [&](const std::string &value, const OptionEntry &entry) {
              option.shard_count = ReadCount("shard_count", value, kMaxShards, entry);
          }}},
        {"table",
         {"string",
          [&](const std::string &value, const OptionEntry &entry) {
              std::tie(option.schema, option.table) = ReadTableName(value, entry);
          }}},
    };
}

void
CheckComplete(const DistributionOption &option, const OptionEntry &entry) {
    if (option.table.empty() || option.column.empty()) {
        entry.Refuse(std::string("lacks key ") + (option.table.empty() ? "table" : "column"),
                     "For example: {\"table\": \"public.orders\", \"column\": \"tenant_id\"}");
    }
    if (!option.colocate_table.empty() && option.shard_count > 0) {
        entry.Refuse("has both shard_count and a table to be colocated with",
                     "It gets as many shards as that table has: leave shard_count out.");
    }
}

// Each behind the table that it is colocated with.
Options
InOrder(const Options &given) {
    Options ordered;
    Options left = given;
    while (!left.empty()) {
        Options waiting;
        for (const DistributionOption &option : left) {
            const bool waits = std::any_of(left.begin(), left.end(), [&](const auto &other) {
                return other.schema == option.colocate_schema &&
                       other.table == option.colocate_table;
            });
            (waits ? waiting : ordered).push_back(option);
        }
        if (waiting.size() == left.size()) {
            const auto first = std::find_if(given.begin(), given.end(), [&](const auto &option) {
                return option.schema == left[0].schema && option.table == left[0].table;
            });
            const auto number = static_cast<size_t>(first - given.begin()) + 1;
            OptionEntry{"distributed_tables", number}.Refuse(
                "is to be colocated with a table that waits for it",
                "Leave colocate_with out for the first of them.");
        }
        left = std::move(waiting);
    }
    return ordered;
}

} // namespace

std::vector<DistributionOption>
ReadDistributions(const std::string &options_json) {
    Options references;
    ReadReferenceTables(options_json, references);
    Options all = references;
    Options distributed;
    DistributionOption option;
    const auto begin = [&] {
        option = {};
        return KeysOf(option);
    };
    ReadEntries(options_json, "distributed_tables", begin, [&](const OptionEntry &entry) {
        CheckComplete(option, entry);
        Add(all, option, entry);
        distributed.push_back(option);
    });
    Options made = std::move(references);
    for (DistributionOption &next : InOrder(distributed)) {
        made.push_back(std::move(next));
    }
    return made;
}

} // namespace livemigrate::control
