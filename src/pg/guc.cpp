#include "pg/guc.hpp"

#include "pg/prelude.hpp"

#include <algorithm>
#include <unistd.h>

namespace livemigrate::pg {

namespace {

char *allowed_source_hosts = nullptr;
int caught_up_lag_ms = 2000;
char *client_bin_dir = nullptr;
// A name to an integer; a method more needs no new setting.
constexpr int kCompressionOff = 0;
constexpr int kCompressionLz4 = 1;
const config_enum_entry kCompressions[] = {
    {"off", kCompressionOff, false}, {"lz4", kCompressionLz4, false}, {nullptr, 0, false}};

constexpr int kMaxCompareJobs = 16;
constexpr int kMostParallelWorkers = 1024; // as PostgreSQL's own settings
int backlog_chunk_size_mb = 64;
int compare_hold_limit_ms = 60'000;
bool compare_holds_apply = false;
int compare_jobs = 2;
int compare_range_size_mb = 1024;
int compare_rate_limit_kb = 0;
int copy_attempts = 10;
int cutover_check_limit_ms = 10'000;
int index_memory_mb = 1024;
int index_parallel_workers = -1;
bool source_password_required = true;
int spool_compression = kCompressionOff;
int spool_min_free_disk_mb = 1024;
int spool_segment_size_mb = 64;
int spool_size_limit_mb = 0;
bool stream_binary = true;
bool stream_in_progress = true;

uint64_t
Bytes(int megabytes) {
    return static_cast<uint64_t>(megabytes) << 20;
}

} // namespace

// Sorted by name.
void
DefineSettings() {
    DefineCustomStringVariable(
        "livemigrate.allowed_source_hosts",
        "Hosts that roles other than superusers may name as a source; * stands for any.", nullptr,
        &allowed_source_hosts, "*", PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable(
        "livemigrate.backlog_chunk_size",
        "WAL that the source decodes at a time while the target is far behind; 0 turns this off.",
        nullptr, &backlog_chunk_size_mb, 64, 0, 1024, PGC_SIGHUP, GUC_UNIT_MB, nullptr, nullptr,
        nullptr);
    DefineCustomIntVariable("livemigrate.caught_up_lag",
                            "Stage catchup ends when the replay lag is below this.", nullptr,
                            &caught_up_lag_ms, 2000, 10, 24 * 3600 * 1000, PGC_SIGHUP, GUC_UNIT_MS,
                            nullptr, nullptr, nullptr);
    DefineCustomStringVariable(
        "livemigrate.client_bin_dir",
        "Directory of pg_dump and pg_restore; empty means the server's own programs.", nullptr,
        &client_bin_dir, "", PGC_SUSET, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable(
        "livemigrate.compare_hold_limit",
        "Longest time that compare_data holds apply until both sides have a common snapshot.",
        nullptr, &compare_hold_limit_ms, 60'000, 100, 24 * 3600 * 1000, PGC_USERSET, GUC_UNIT_MS,
        nullptr, nullptr, nullptr);
    DefineCustomBoolVariable("livemigrate.compare_holds_apply",
                             "Whether compare_data holds apply until it has compared everything.",
                             nullptr, &compare_holds_apply, false, PGC_USERSET, 0, nullptr, nullptr,
                             nullptr);
    DefineCustomIntVariable("livemigrate.compare_jobs", "Workers that compare at a time.", nullptr,
                            &compare_jobs, 2, 1, kMaxCompareJobs, PGC_USERSET, 0, nullptr, nullptr,
                            nullptr);
    DefineCustomIntVariable("livemigrate.compare_range_size",
                            "Larger tables are compared in ranges of about this size.", nullptr,
                            &compare_range_size_mb, 1024, 1, INT_MAX, PGC_USERSET, GUC_UNIT_MB,
                            nullptr, nullptr, nullptr);
    DefineCustomIntVariable(
        "livemigrate.compare_rate_limit",
        "How much compare_data reads on the source in a second; 0 means no limit.", nullptr,
        &compare_rate_limit_kb, 0, 0, INT_MAX, PGC_USERSET, GUC_UNIT_KB, nullptr, nullptr, nullptr);
    DefineCustomIntVariable(
        "livemigrate.copy_attempts",
        "Attempts at a part of a table, or a statement, after which its error is permanent.",
        nullptr, &copy_attempts, 10, 1, 1000, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable(
        "livemigrate.cutover_check_limit",
        "Longest time that the checks at cutover read tables; 0 means no limit.", nullptr,
        &cutover_check_limit_ms, 10'000, 0, 24 * 3600 * 1000, PGC_SIGHUP, GUC_UNIT_MS, nullptr,
        nullptr, nullptr);
    DefineCustomIntVariable(
        "livemigrate.index_memory",
        "Memory that all index workers of a migration share; 0 gives each maintenance_work_mem.",
        nullptr, &index_memory_mb, 1024, 0, INT_MAX / 1024, PGC_SIGHUP, GUC_UNIT_MB, nullptr,
        nullptr, nullptr);
    DefineCustomIntVariable(
        "livemigrate.index_parallelism",
        "Parallel workers that all index workers share; -1: one process for each CPU.", nullptr,
        &index_parallel_workers, -1, -1, kMostParallelWorkers, PGC_SIGHUP, 0, nullptr, nullptr,
        nullptr);
    DefineCustomBoolVariable("livemigrate.source_password_required",
                             "Whether roles other than superusers must give the source a password.",
                             nullptr, &source_password_required, true, PGC_SIGHUP, 0, nullptr,
                             nullptr, nullptr);
    DefineCustomEnumVariable("livemigrate.spool_compression",
                             "Whether changes buffered on the target are compressed.", nullptr,
                             &spool_compression, kCompressionOff, kCompressions, PGC_SIGHUP, 0,
                             nullptr, nullptr, nullptr);
    DefineCustomIntVariable(
        "livemigrate.spool_min_free_disk",
        "Receiving waits while less is free on the file system of the spool; 0 turns this off.",
        nullptr, &spool_min_free_disk_mb, 1024, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MB, nullptr,
        nullptr, nullptr);
    DefineCustomIntVariable("livemigrate.spool_segment_size",
                            "Size of the files that buffer changes on the target.", nullptr,
                            &spool_segment_size_mb, 64, 1, 1024, PGC_SIGHUP, GUC_UNIT_MB, nullptr,
                            nullptr, nullptr);
    DefineCustomIntVariable(
        "livemigrate.spool_size_limit",
        "Receiving waits for apply while the spool is this large; 0 means no limit.", nullptr,
        &spool_size_limit_mb, 0, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MB, nullptr, nullptr, nullptr);
    DefineCustomBoolVariable(
        "livemigrate.stream_binary",
        "Whether the source sends values in binary form where all types allow it.", nullptr,
        &stream_binary, true, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
    DefineCustomBoolVariable(
        "livemigrate.stream_in_progress",
        "Whether the source sends large transactions while they are in progress.", nullptr,
        &stream_in_progress, true, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
    ReserveSettingPrefix("livemigrate");
}

std::string
AllowedSourceHosts() {
    return allowed_source_hosts == nullptr ? "" : allowed_source_hosts;
}

uint64_t
BacklogChunkSize() {
    return Bytes(backlog_chunk_size_mb);
}

std::chrono::milliseconds
CaughtUpLag() {
    return std::chrono::milliseconds(caught_up_lag_ms);
}

std::string
ClientBinaryDirectory() {
    return client_bin_dir == nullptr ? "" : client_bin_dir;
}

std::chrono::milliseconds
CompareHoldLimit() {
    return std::chrono::milliseconds(compare_hold_limit_ms);
}

bool
CompareHoldsApply() {
    return compare_holds_apply;
}

size_t
CompareJobs() {
    return static_cast<size_t>(compare_jobs);
}

uint64_t
CompareRangeSize() {
    return Bytes(compare_range_size_mb);
}

uint64_t
CompareRateLimit() {
    return static_cast<uint64_t>(compare_rate_limit_kb) << 10;
}

int
CopyAttempts() {
    return copy_attempts;
}

std::optional<std::chrono::milliseconds>
CutoverCheckLimit() {
    return cutover_check_limit_ms == 0
               ? std::nullopt
               : std::optional(std::chrono::milliseconds(cutover_check_limit_ms));
}

int
IndexMemory(int workers, int floor_kb) {
    return std::max(floor_kb, index_memory_mb * 1024 / std::max(workers, 1));
}

int
IndexParallelWorkers(int workers) {
    const int jobs = std::max(workers, 1);
    if (index_parallel_workers >= 0) {
        return index_parallel_workers / jobs;
    }
    const auto processors = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
    return std::clamp(processors / jobs - 1, 0, kMostParallelWorkers);
}

bool
SourcePasswordRequired() {
    return source_password_required;
}

bool
SpoolIsCompressed() {
    return spool_compression == kCompressionLz4;
}

uint64_t
SpoolMinFreeDisk() {
    return Bytes(spool_min_free_disk_mb);
}

uint64_t
SpoolSegmentSize() {
    return Bytes(spool_segment_size_mb);
}

uint64_t
SpoolSizeLimit() {
    return Bytes(spool_size_limit_mb);
}

bool
StreamBinary() {
    return stream_binary;
}

bool
StreamInProgress() {
    return stream_in_progress;
}

} // namespace livemigrate::pg
