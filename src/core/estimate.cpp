#include "core/estimate.hpp"

#include "core/operator_text.hpp"
#include "core/sql_text.hpp"

#include <algorithm>
#include <cmath>

namespace livemigrate {

namespace {

// A second worker adds this much of the first one's speed: they share disks and processors.
constexpr double kParallelGain = 0.7;

// Not measured, because there is nothing to apply yet: bytes of the source's WAL a second that one
// apply worker gets through with small transactions. doc/performance.md has 31 000 TPC-B
// transactions a second, of a good half kB of WAL each without full pages, on a slow machine.
constexpr double kApplyRate = 16.0 * 1024 * 1024;

// Used where the source had nothing to measure with.
constexpr double kDefaultRate = 50.0 * 1024 * 1024;

// Creating the objects of a table, and setting a sequence.
constexpr double kSchemaSecondsPerTable = 0.01;
constexpr double kSequenceSeconds = 0.002;
constexpr double kFixedStageSeconds = 3;   // preflight, slot, roles
constexpr double kFixedCutoverSeconds = 1; // notice endpos, end the stream, last commit
constexpr int kOtherSourceConnections = 4;
constexpr int kOtherProcesses = 3; // coordinator, receiver, apply

double
Together(double rate, int jobs) {
    return rate * (1 + kParallelGain * (std::max(1, jobs) - 1));
}

double
OneWorkerCopyRate(const EstimateInput &input) {
    const double read = input.read_rate > 0 ? input.read_rate : kDefaultRate;
    const double write = input.write_rate > 0 ? input.write_rate : kDefaultRate;
    return std::min(read, write); // both ends work at the same time
}

double
CopySeconds(const EstimateInput &input) {
    const double rate = OneWorkerCopyRate(input);
    const int jobs = static_cast<int>(std::min<uint64_t>(
        static_cast<uint64_t>(input.table_jobs),
        input.largest_is_split ? UINT64_MAX : std::max<uint64_t>(1, input.tables)));
    const auto bytes = static_cast<double>(input.table_bytes + input.large_object_bytes);
    const double all = bytes / Together(rate, jobs);
    const double longest =
        input.largest_is_split ? 0 : static_cast<double>(input.largest_table_bytes) / rate;
    return std::max(all, longest);
}

double
IndexSeconds(const EstimateInput &input) {
    const double rate = input.index_rate > 0 ? input.index_rate : kDefaultRate;
    return static_cast<double>(input.index_bytes) / Together(rate, input.index_jobs);
}

class Rows {
  public:
    void
    Bytes(const char *item, double value, const std::string &basis) {
        rows_.push_back({item, FormatBytes(static_cast<uint64_t>(std::max(0.0, value))), value,
                         "bytes", basis});
    }
    void
    Rate(const char *item, double value, const std::string &basis) {
        rows_.push_back({item, FormatByteRate(value), value, "bytes/s", basis});
    }
    void
    Seconds(const char *item, double value, const std::string &basis) {
        rows_.push_back({item, FormatSeconds(value), value, "seconds", basis});
    }
    void
    Count(const char *item, uint64_t value, const char *unit, const std::string &basis) {
        rows_.push_back({item, FormatCount(value), static_cast<double>(value), unit, basis});
    }

    std::vector<EstimateRow> rows_;
};

void
AddSizes(const EstimateInput &input, Rows &rows) {
    rows.Count("tables", input.tables, "count", "tables whose rows are copied");
    rows.Bytes("table_size", static_cast<double>(input.table_bytes),
               "on the source, TOAST included; a copy has no bloat and may be smaller");
    rows.Bytes("largest_table", static_cast<double>(input.largest_table_bytes),
               input.largest_is_split ? "copied in parts, by several workers"
                                      : "copied by one worker");
    rows.Count("indexes", input.indexes, "count", "of these tables");
    rows.Bytes("index_size", static_cast<double>(input.index_bytes), "on the source");
    rows.Bytes("large_object_size", static_cast<double>(input.large_object_bytes), "on the source");
}

void
AddRates(const EstimateInput &input, Rows &rows) {
    const std::string sample = ", measured for " + FormatSeconds(input.sample_seconds);
    const std::string none = "nothing to measure with: an assumption";
    rows.Rate("read_rate", input.read_rate > 0 ? input.read_rate : kDefaultRate,
              input.read_rate > 0
                  ? "one worker, rows of the largest table fetched to here, in bytes of its pages" +
                        sample
                  : none);
    rows.Rate("write_rate", input.write_rate > 0 ? input.write_rate : kDefaultRate,
              input.write_rate > 0 ? "one worker, rows into a logged table on the target" : none);
    rows.Rate("index_rate", input.index_rate > 0 ? input.index_rate : kDefaultRate,
              input.index_rate > 0 ? "one worker, an index on the target" : none);
    rows.Rate("source_wal_rate", input.source_wal_rate, "WAL written on the source" + sample);
    rows.Rate("apply_rate", kApplyRate, "an assumption: one worker, small transactions");
}

void
AddStages(const EstimateInput &input, Rows &rows) {
    const double copy = CopySeconds(input);
    const double index = IndexSeconds(input);
    const double schema = static_cast<double>(input.tables) * kSchemaSecondsPerTable;
    const double before = kFixedStageSeconds + schema + copy + index;
    const double backlog = input.source_wal_rate * before;
    const double closing = kApplyRate - input.source_wal_rate;
    rows.Seconds("stage_schema", kFixedStageSeconds + schema,
                 "10 ms a table; a long transaction on the source delays the slot by its length");
    rows.Seconds("stage_data", copy,
                 "the slower of read_rate and write_rate, 70 % more with each further worker of " +
                     std::to_string(input.table_jobs));
    rows.Seconds("stage_indexes", index,
                 "index_size at index_rate, 70 % more with each further worker of " +
                     std::to_string(input.index_jobs));
    if (closing > 0) {
        rows.Seconds("stage_catchup", backlog / closing,
                     "the changes buffered until then at apply_rate, less source_wal_rate");
    } else {
        rows.rows_.push_back({"stage_catchup", "never, at this rate", INFINITY, "seconds",
                              "the source writes faster than apply_rate"});
    }
    rows.Seconds("until_streaming", before + (closing > 0 ? backlog / closing : 0),
                 "the stages above together");
    rows.Seconds("downtime",
                 CutoverSeconds(input.sequences, input.materialized_view_bytes, input.write_rate),
                 "from the stop of writes to done, once streaming: 1 s, 2 ms a sequence, "
                 "materialized views at write_rate; without the time of your own checks");
    rows.Bytes("target_spool", backlog,
               "source_wal_rate until streaming begins; more during a pause_after");
}

void
AddNeeds(const EstimateInput &input, Rows &rows) {
    const auto data = static_cast<double>(input.table_bytes + input.index_bytes +
                                          input.large_object_bytes + input.materialized_view_bytes);
    const double spool = rows.rows_.back().value;
    rows.Bytes("target_disk", data * 1.1 + spool,
               "tables, indexes, large objects and target_spool, with a tenth to spare; WAL beside "
               "it up to max_wal_size, or target_wal where it is archived");
    rows.Bytes("target_wal", data, "written by copy and index builds");
    rows.Count("source_connections",
               static_cast<uint64_t>(std::max(1, input.table_jobs) + kOtherSourceConnections),
               "connections", "at most, one of them for replication; one slot");
    rows.Count(
        "target_workers",
        static_cast<uint64_t>(std::max(input.table_jobs, input.index_jobs) + kOtherProcesses),
        "processes", "of max_worker_processes; with fewer it takes longer");
}

} // namespace

std::optional<double>
SecondsToBuild(const BuildWork &work, int workers) {
    constexpr double kMostOfRunning = 0.9; // counts as done
    if (work.bytes_done == 0 || work.seconds_done <= 0) {
        return std::nullopt;
    }
    const double usual = static_cast<double>(work.bytes_done) / work.seconds_done;
    auto done = static_cast<double>(work.bytes_done);
    double seconds = work.seconds_done;
    auto left = static_cast<double>(work.bytes_waiting);
    auto largest = static_cast<double>(work.largest_waiting);
    for (const BuildWork::Running &running : work.running) {
        const auto bytes = static_cast<double>(running.bytes);
        const double read = std::min(kMostOfRunning * bytes, usual * running.seconds);
        done += read;
        seconds += running.seconds;
        left += bytes - read;
        largest = std::max(largest, bytes - read);
    }
    const double rate = done / seconds;
    return std::max(left / Together(rate, workers), largest / rate);
}

double
CutoverSeconds(uint64_t sequences, uint64_t materialized_view_bytes, double write_rate) {
    return kFixedCutoverSeconds + static_cast<double>(sequences) * kSequenceSeconds +
           static_cast<double>(materialized_view_bytes) /
               (write_rate > 0 ? write_rate : kDefaultRate);
}

std::vector<EstimateRow>
Estimate(const EstimateInput &input) {
    Rows rows;
    AddSizes(input, rows);
    AddRates(input, rows);
    AddStages(input, rows);
    AddNeeds(input, rows);
    return std::move(rows.rows_);
}

} // namespace livemigrate
