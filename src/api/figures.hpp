// The live figures of a migration: shared memory where a coordinator runs, the replication origin.
#pragma once

#include "pg/prelude.hpp"

#include "control/shared_memory.hpp"
#include "core/shared_state.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace livemigrate::api {

// How much of copy and indexes there is and is done.
struct Work {
    int64_t tables = 0;
    int64_t tables_done = 0;
    int64_t bytes = 0;
    int64_t bytes_done = 0;
    int64_t rows_done = 0;
    int64_t jobs = 0;
    int64_t jobs_done = 0;
};

struct Figures {
    bool live = false; // a coordinator runs
    uint64_t source_lsn = 0;
    uint64_t received_lsn = 0;
    uint64_t flushed_lsn = 0;
    uint64_t applied_lsn = 0;
    std::optional<int64_t> replay_lag; // microseconds
    std::optional<uint64_t> spool_bytes;
    int64_t transactions = 0;
    int64_t changes = 0;
    int64_t skipped = 0;
    Work work;                 // of parts and jobs that are done
    int64_t running_bytes = 0; // of parts that are being copied
    int64_t running_rows = 0;
    std::optional<int64_t> jobs_end_at; // a TimestampTz
    double copy_rate = 0;
    double change_rate = 0;
    double apply_rate = 0;  // bytes of WAL
    double source_rate = 0; // bytes of WAL
};

// nullopt when no coordinator runs.
std::optional<control::SharedSegment> AttachTo(uint32_t handle, int32_t migration);

// Lays what shared memory knows over what the catalog had.
void AddLive(const SharedState &state, Figures &figures);

// How far apply has committed; 0 when there is no such origin.
uint64_t OriginProgress(const std::string &origin, int workers);

} // namespace livemigrate::api
