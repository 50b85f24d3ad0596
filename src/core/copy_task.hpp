// Units of work that the coordinator plans and workers claim.
#pragma once

#include "core/lsn.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace livemigrate {

// A table of the migration: livemigrate.table_copy.
struct CopyTable {
    int32_t id = 0;
    uint32_t source_oid = 0;
    std::string schema;
    std::string name;
    char relkind = 'r';
    char persistence = 'p';
    uint64_t pages = 0;
    uint64_t bytes = 0;
    int64_t rows_estimate = 0;
    uint32_t filenode = 0;
    char replica_identity = 'd';
    bool identity_usable = true;
    bool copy_data = true;
    bool replaced = false; // on the source, by another of its name: not followed any more
    // Of an extension's configuration table: which rows are the user's, as an SQL condition; the
    // others come with CREATE EXTENSION.
    std::string row_condition;
    bool is_extension_config = false;
    // UPDATE and DELETE on the source up to the snapshot, by its statistics.
    uint64_t rows_changed = 0;
    std::string state = "pending";
    Lsn snapshot_lsn;
    int32_t parts = 1;
    // Of a partition the topmost partitioned table; else empty.
    std::string root_schema;
    std::string root_name;
    std::string bounds; // see pg/partition_tree
    // The target's table that takes the rows: the one of its name, or the root where the target has
    // not the same partition.
    std::string target_schema;
    std::string target_name;
    // Which of the root's rows are its own, as an SQL condition; empty where that cannot be told.
    std::string partition_condition;

    bool
    through_root() const {
        return target_schema != schema || target_name != name;
    }
};

// One claimed part: livemigrate.copy_part with its table.
struct CopyTask {
    int32_t migration = 0;
    int32_t id = 0;
    std::optional<int32_t> table_id; // nullopt: a range of large objects
    uint32_t source_oid = 0;
    std::string schema;
    std::string name;
    std::string target_schema; // see CopyTable
    std::string target_name;
    int32_t part = 0;
    int32_t parts = 1;
    bool may_truncate = true; // whether the target's table holds nothing but what is copied
    std::string condition;    // on ctid; "first-last" for large objects
    uint64_t bytes = 0;
    int32_t attempts = 1; // with this one

    bool
    through_root() const {
        return target_schema != schema || target_name != name;
    }
};

// A statement of the dump's post-data section: livemigrate.schema_job.
enum class JobPhase : int {
    // Indexes, primary keys, unique and exclusion constraints, statistics objects, each as soon as
    // its table is complete; ANALYZE of a table behind all of its own.
    kIndexes = 1,
    kConstraints = 2, // constraints on top of those indexes, and all that stays in dump order
    kForeignKeys = 3, // NOT VALID
    kValidation = 4,  // of foreign keys
    kAnalyze = 5,     // of what could not be analyzed before; and comments
    kRefresh = 30,    // of materialized views: by the coordinator itself, at cutover
    kLast = 20,       // event triggers: at cutover, so that they do not fire at what we do before
};

struct SchemaJob {
    int32_t migration = 0;
    int32_t id = 0;
    int32_t phase = 0;
    std::string kind;
    std::string schema;
    std::string table;
    std::string object;
    std::string sql;
    uint64_t bytes = 0;
    std::optional<int32_t> table_id; // as soon as this table is complete; nullopt: after all data
    int32_t attempts = 0;            // that ended with their worker or the server
};

} // namespace livemigrate
