// What migration_start was asked for: fixed for the life of a migration.
#pragma once

#include "core/distribution_option.hpp"
#include "core/hypertable_option.hpp"
#include "core/migration_state.hpp"
#include "core/table_pattern.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace livemigrate {

enum class OnExisting : uint8_t {
    kError,      // objects or rows that are there already are an error
    kTruncate,   // tables that are there are emptied and filled
    kSkipSchema, // the schema is there; the tables must be empty
};

struct MigrationSettings {
    std::string source; // conninfo; may hold a password: never shown, see core/conninfo
    std::string name;
    std::string requested_plugin; // auto, pgoutput, wal2json
    std::vector<Stage> pause_after;
    int table_jobs = 4;
    int index_jobs = 4;
    uint64_t split_bytes = 1ULL << 30;
    std::optional<std::vector<std::string>> include_tables;
    std::vector<std::string> exclude_tables;
    std::vector<std::string> exclude_table_data;
    bool roles = true;
    bool owner = false;
    bool privileges = false;
    OnExisting on_existing = OnExisting::kError;

    // options
    int apply_jobs = 1;
    std::optional<std::string> existing_slot;
    std::optional<std::string> publication;
    // How long transactions of the source may keep the slot, or a new snapshot, from being made.
    std::optional<std::chrono::milliseconds> slot_timeout;
    bool database_settings = false;
    bool unlogged = true;
    bool allow_downgrade = false; // the source may be of a newer major version than the target
    bool tablespaces = false;     // restored; otherwise all goes to the default one
    // Tables without a usable replica identity that were accepted: only INSERT and TRUNCATE arrive.
    std::vector<std::string> insert_only_tables;
    std::vector<HypertableOption> hypertables; // to be made after stage schema
    // To become Citus's after stage schema, in this order.
    std::vector<DistributionOption> distributions;
};

} // namespace livemigrate
