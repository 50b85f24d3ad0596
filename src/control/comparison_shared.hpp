// What the session that compares shares with its workers: a segment of its own, made by the
// session, gone with it. Only for comparison*.cpp.
#pragma once

#include "pg/prelude.hpp"

#include "core/shared_state.hpp"
#include "stage/compare_unit.hpp"

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace livemigrate::control {

inline constexpr size_t kMaxCompareJobs = 16;
inline constexpr uint64_t kComparisonMagic = 0x4c4d434d50303033; // "LMCMP003"

// Of one unit; written by the worker that has it, read when `done` is set.
struct SharedUnitResult {
    std::atomic<uint32_t> done;
    std::atomic<int32_t> worker; // that has claimed it; 0: nobody
    int64_t source_rows;
    int64_t target_rows;
    char source_checksum[48];
    char target_checksum[48];
    char detail[256];
    uint32_t rows; // entries in the unit's row area
};

struct SharedComparison {
    uint64_t magic;
    int32_t migration;
    int32_t leader_pid;
    int64_t run;
    uint64_t source_lsn; // of the snapshots; 0: none
    uint64_t rate_limit; // bytes a second of each worker; 0: none
    uint32_t unit_count;
    uint32_t max_rows;
    uint32_t row_area;   // bytes of it, for each unit
    uint32_t units_size; // packed, behind the row areas
    char source_snapshot[64];
    char target_snapshot[64];

    std::atomic<uint32_t> stop;
    std::atomic<uint32_t> next; // unit to be claimed
    std::atomic<uint32_t> plan_is_kept;
    std::atomic<int32_t> plan_keeper; // the worker that keeps the plan now; 0: none
    std::atomic<uint32_t> failed;
    std::atomic<int32_t> worker_pids[kMaxCompareJobs];
    SharedError error; // of the first worker that failed

    SharedUnitResult results[1]; // unit_count of them; then row areas, then packed units

    char *
    RowArea(uint32_t unit) {
        return reinterpret_cast<char *>(results + unit_count) + size_t{unit} * row_area;
    }
    char *
    Units() {
        return RowArea(unit_count);
    }
    bool
    AtSnapshot() const {
        return source_snapshot[0] != '\0';
    }
};

// How much one segment needs.
size_t ComparisonSize(uint32_t units, uint32_t row_area, size_t packed);

void StoreResult(SharedComparison &shared, uint32_t unit, const stage::UnitResult &result);
stage::UnitResult LoadResult(SharedComparison &shared, uint32_t unit);

// Claims and compares units until there are none, or `stop` is set. In a worker of its own
// transactions, one for each unit; otherwise in the session's.
void CompareUnits(SharedComparison &shared, const std::string &conninfo, bool own_transactions);

} // namespace livemigrate::control
