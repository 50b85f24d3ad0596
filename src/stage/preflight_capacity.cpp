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
#include "source/locked_relations.hpp"

#include <algorithm>
#include <sys/statvfs.h>
#include <unistd.h>

namespace livemigrate::stage {

namespace {

// What is written for each byte read where nothing has been measured; migration_estimate measures.
constexpr double kAssumedRate = 50.0 * 1024 * 1024;

// Where the source keeps no count of the WAL that it writes.
constexpr int kCountsWalVersion = 140000;

// A limit of so many times the WAL to be expected is not told of as a danger.
constexpr double kAmple = 2;

// Behind kLockedRelations. Besides the tables ($1): their indexes, materialized views with theirs,
// large objects. Sizes of indexes are the catalog's own: asking for them would wait for whoever has
// locked one. A view that is being refreshed is not opened either.
constexpr char kOtherBytes[] = R"sql(
, block AS (SELECT pg_catalog.current_setting('block_size')::pg_catalog.int8 AS bytes),
view AS (
    SELECT oid, relpages, oid IN (SELECT relation FROM locked) AS is_locked
    FROM pg_catalog.pg_class WHERE relkind = 'm'),
owner AS (
    SELECT oid FROM pg_catalog.unnest($1::pg_catalog.oid[]) AS t(oid)
    UNION ALL SELECT oid FROM view)
SELECT (SELECT COALESCE(pg_catalog.sum(c.relpages::pg_catalog.int8), 0) * (SELECT bytes FROM block)
        FROM owner JOIN pg_catalog.pg_index i ON i.indrelid = owner.oid
        JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid),
       (SELECT COALESCE(pg_catalog.sum(
                   CASE WHEN v.is_locked THEN v.relpages * (SELECT bytes FROM block)
                        ELSE pg_catalog.pg_table_size(v.oid) END), 0)
        FROM view v),
       CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata)
            THEN pg_catalog.pg_total_relation_size('pg_catalog.pg_largeobject'::pg_catalog.regclass)
            ELSE 0 END
)sql";

// Of what is copied or made from it.
struct DataSize {
    uint64_t tables = 0;
    uint64_t indexes = 0;
    uint64_t views = 0;
    uint64_t large_objects = 0;

    uint64_t
    Sum() const {
        return tables + indexes + views + large_objects;
    }
};

DataSize
MeasureData(PreflightRun &run) {
    DataSize size;
    std::string oids;
    for (const source::SourceTable &table : run.result.tables) {
        if (run.HasData(table)) {
            size.tables += table.bytes;
            oids += (oids.empty() ? "" : ",") + std::to_string(table.oid);
        }
    }
    const pg::SqlResult found = run.source.Query(
        std::string("WITH ") + source::kLockedRelations + kOtherBytes, {"{" + oids + "}"});
    const pg::SqlRow &row = found.rows.at(0);
    size.indexes = pg::Number<uint64_t>(row, 0);
    size.views = pg::Number<uint64_t>(row, 1);
    size.large_objects = pg::Number<uint64_t>(row, 2);
    return size;
}

// "1 GB of tables and indexes, 2 MB of materialized views, 8 kB of large objects".
std::string
DescribeData(const DataSize &size) {
    std::string text = FormatBytes(size.tables + size.indexes) + " of tables and indexes";
    if (size.views > 0) {
        text += ", " + FormatBytes(size.views) + " of materialized views";
    }
    if (size.large_objects > 0) {
        text += ", " + FormatBytes(size.large_objects) + " of large objects";
    }
    return text;
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
CheckDisk(PreflightRun &run, const DataSize &size) {
    struct statvfs status;
    if (::statvfs(DataDir, &status) < 0) {
        return;
    }
    const uint64_t free = uint64_t{status.f_bavail} * status.f_frsize;
    const uint64_t wal = static_cast<uint64_t>(max_wal_size_mb) * 1024 * 1024;
    const std::string text = DescribeData(size) + " and up to " + FormatBytes(wal) +
                             " of WAL are to be written; " + FormatBytes(free) +
                             " are free where the target's data is";
    if (size.Sum() + wal <= free) {
        run.Ok("target_disk", "target", text);
        return;
    }
    run.Warning("target_disk", "target", text,
                "-- enlarge the file system of " + std::string(DataDir) + " by " +
                    FormatBytes(size.Sum() + wal - free) + "\n" +
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

constexpr char kConsequence[] = ": when the target falls that far behind, the source drops the "
                                "slot's WAL and the migration has to start again";

// A slot that is there already: nothing is copied, so that there is nothing to compare with but
// what it has left.
void
CheckWalOfSlot(PreflightRun &run, const std::string &limit) {
    const pg::SqlResult found =
        run.source.Query("SELECT pg_catalog.to_jsonb(s) ->> 'safe_wal_size'"
                         " FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = $1::text",
                         {*run.settings.existing_slot});
    std::string text = "max_slot_wal_keep_size is " + limit + kConsequence;
    if (!found.rows.empty() && found.rows[0].at(0)) {
        const auto left = pg::Number<int64_t>(found.rows[0], 0);
        text += "; that is " + FormatBytes(static_cast<uint64_t>(std::max<int64_t>(left, 0))) +
                " of WAL from now";
    }
    run.Warning("slot_wal_limit", "source", std::move(text),
                run.ways.Set("max_slot_wal_keep_size", "-1"));
}

// How much WAL the source writes during the copy is a guess: the limit is to be twice that.
void
CheckSlotWal(PreflightRun &run, uint64_t data_bytes) {
    const std::string &limit = run.info().max_slot_wal_keep_size;
    const double seconds = static_cast<double>(data_bytes) / kAssumedRate;
    const double rate = AverageWalRate(run);
    const double written = rate * seconds;
    const auto limit_bytes =
        pg::Number<double>(pg::Query("SELECT pg_catalog.pg_size_bytes($1)", {limit}).rows.at(0), 0);
    const bool is_ample = rate > 0 && limit_bytes > 0 && limit_bytes >= kAmple * written;
    std::string text = "max_slot_wal_keep_size is " + limit + (is_ample ? "" : kConsequence) +
                       "; copying " + FormatBytes(data_bytes) + " takes about " +
                       FormatSeconds(seconds) + " at " + FormatByteRate(kAssumedRate);
    if (rate > 0) {
        text += ", in which the source, at its average of " + FormatByteRate(rate) +
                ", writes about " + FormatBytes(static_cast<uint64_t>(written)) + " of WAL";
    }
    if (is_ample) {
        run.Ok("slot_wal_limit", "source", std::move(text));
    } else {
        run.Warning("slot_wal_limit", "source", std::move(text),
                    run.ways.Set("max_slot_wal_keep_size", "-1"));
    }
}

} // namespace

void
CheckCapacity(PreflightRun &run) {
    const std::string &limit = run.info().max_slot_wal_keep_size;
    const bool is_limited = !limit.empty() && limit != "-1";
    if (!is_limited) {
        run.Ok("slot_wal_limit", "source", "the source keeps a slot's WAL for as long as it takes");
    }
    if (run.settings.existing_slot) {
        if (is_limited) {
            CheckWalOfSlot(run, limit);
        }
        return;
    }
    const DataSize size = MeasureData(run);
    if (is_limited) {
        CheckSlotWal(run, size.Sum());
    }
    CheckDisk(run, size);
    CheckMemory(run);
}

} // namespace livemigrate::stage
