// Checks of what a migration of this size takes: disk and memory of the target, and the WAL that
// the slot keeps on the source meanwhile.
#include "pg/prelude.hpp"

extern "C" {
#include "access/xlog.h"
#include "miscadmin.h"
}

#include "stage/preflight_run.hpp"

#include "core/operator_text.hpp"
#include "core/sql_text.hpp"
#include "pg/guc.hpp"
#include "pg/sql_row.hpp"

#include <algorithm>
#include <sys/statvfs.h>
#include <unistd.h>

namespace livemigrate::stage {

namespace {

// What is written for each byte read where nothing has been measured; migration_estimate measures.
constexpr double kAssumedRate = 50.0 * 1024 * 1024;

// Where the source keeps no count of the WAL that it writes.
constexpr int kCountsWalVersion = 140000;

// By the catalog's own figures: asking for the sizes of indexes would wait for whoever has locked
// one of them.
uint64_t
IndexBytes(PreflightRun &run) {
    const pg::SqlResult found =
        run.source.Query("SELECT COALESCE(pg_catalog.sum(relpages::pg_catalog.int8), 0)"
                         "   * pg_catalog.current_setting('block_size')::pg_catalog.int8"
                         " FROM pg_catalog.pg_class WHERE relkind = 'i' AND oid >= 16384"
                         "   AND relnamespace <> 'pg_toast'::pg_catalog.regnamespace");
    return pg::Number<uint64_t>(found.rows.at(0), 0);
}

uint64_t
TableBytes(const PreflightRun &run) {
    uint64_t bytes = 0;
    for (const source::SourceTable &table : run.result.tables) {
        bytes += run.HasData(table) ? table.bytes : 0;
    }
    return bytes;
}

std::string
LargestTable(const PreflightRun &run) {
    const source::SourceTable *largest = nullptr;
    for (const source::SourceTable &table : run.result.tables) {
        if (run.HasData(table) && (largest == nullptr || table.bytes > largest->bytes)) {
            largest = &table;
        }
    }
    return largest == nullptr ? "" : largest->schema + "." + largest->name;
}

// The copy has no bloat, and a file system may compress: too little is a warning. The target's own
// WAL is counted up to max_wal_size, changes that wait in the spool are not: how long the copy
// takes is not known here.
void
CheckDisk(PreflightRun &run, uint64_t data_bytes) {
    struct statvfs status;
    if (::statvfs(DataDir, &status) < 0) {
        return;
    }
    const uint64_t free = uint64_t{status.f_bavail} * status.f_frsize;
    const uint64_t wal = static_cast<uint64_t>(max_wal_size_mb) * 1024 * 1024;
    const std::string text = FormatBytes(data_bytes) + " of tables and indexes and up to " +
                             FormatBytes(wal) + " of WAL are to be written; " + FormatBytes(free) +
                             " are free where the target's data is";
    if (data_bytes + wal <= free) {
        run.Ok("target_disk", "target", text);
        return;
    }
    run.Warning("target_disk", "target", text,
                "-- enlarge the file system of " + std::string(DataDir) + " by " +
                    FormatBytes(data_bytes + wal - free) + "\n" +
                    Comment("or: migration_start(..., exclude_table_data => ARRAY[" +
                            QuoteLiteral(LargestTable(run)) + "]), which is the largest table"));
}

// Each worker that builds an index takes maintenance_work_mem or its share of index_memory, what is
// more.
void
CheckMemory(PreflightRun &run) {
    const long pages = ::sysconf(_SC_PHYS_PAGES);
    const long page_size = ::sysconf(_SC_PAGESIZE);
    if (pages <= 0 || page_size <= 0) {
        return;
    }
    const auto physical = static_cast<uint64_t>(pages) * static_cast<uint64_t>(page_size);
    const int jobs = std::max(1, run.settings.index_jobs);
    const auto workers = static_cast<uint64_t>(jobs);
    const uint64_t each = static_cast<uint64_t>(pg::IndexMemory(jobs, maintenance_work_mem)) * 1024;
    const std::string text =
        Counted(workers, "index worker") + " may take " + FormatBytes(workers * each) +
        " of memory together, the target's machine has " + FormatBytes(physical);
    if (workers * each <= physical / 2) {
        run.Ok("target_memory", "target", text);
        return;
    }
    const uint64_t all = physical / 4 / 1024 / 1024;
    const bool by_worker = static_cast<uint64_t>(maintenance_work_mem) * 1024 == each;
    const std::string setting = by_worker ? "maintenance_work_mem" : "livemigrate.index_memory";
    const uint64_t wanted = std::max<uint64_t>(by_worker ? all / workers : all, 16);
    run.Warning("target_memory", "target", text + ", because of " + setting,
                SetAndReload(setting, QuoteLiteral(std::to_string(wanted) + "MB")));
}

// Of WAL written, a second, since the source's statistics began.
double
AverageWalRate(PreflightRun &run) {
    if (run.source.server_version() < kCountsWalVersion) {
        return 0;
    }
    const pg::SqlResult found = run.source.Query(
        "SELECT wal_bytes / GREATEST(1, pg_catalog.date_part('epoch', pg_catalog.now() -"
        " GREATEST(stats_reset, pg_catalog.pg_postmaster_start_time()))::pg_catalog.numeric)"
        " FROM pg_catalog.pg_stat_wal");
    return pg::Number<double>(found.rows.at(0), 0);
}

void
CheckSlotWal(PreflightRun &run, uint64_t data_bytes) {
    const std::string &limit = run.info().max_slot_wal_keep_size;
    if (limit.empty() || limit == "-1") {
        run.Ok("slot_wal_limit", "source", "the source keeps a slot's WAL for as long as it takes");
        return;
    }
    const double seconds = static_cast<double>(data_bytes) / kAssumedRate;
    const double rate = AverageWalRate(run);
    std::string text =
        "max_slot_wal_keep_size is " + limit +
        ": when the target falls that far behind, the source drops the slot's WAL and the "
        "migration has to start again; copying " +
        FormatBytes(data_bytes) + " takes about " + FormatSeconds(seconds) + " at " +
        FormatByteRate(kAssumedRate);
    if (rate > 0) {
        text += ", in which the source, at its average of " + FormatByteRate(rate) +
                ", writes about " + FormatBytes(static_cast<uint64_t>(rate * seconds)) + " of WAL";
    }
    run.Warning("slot_wal_limit", "source", std::move(text),
                run.ways.Set("max_slot_wal_keep_size", "-1"));
}

} // namespace

void
CheckCapacity(PreflightRun &run) {
    const bool copies = !run.settings.existing_slot;
    const uint64_t bytes = copies ? TableBytes(run) + IndexBytes(run) : 0;
    CheckSlotWal(run, bytes);
    if (copies) {
        CheckDisk(run, bytes);
        CheckMemory(run);
    }
}

} // namespace livemigrate::stage
