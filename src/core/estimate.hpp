// What a migration will need and how long it will take, from sizes and a few measured speeds. Plain
// arithmetic on stated assumptions: every row says what it is based on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace livemigrate {

struct EstimateInput {
    uint64_t tables = 0;
    uint64_t table_bytes = 0; // with TOAST, without indexes
    uint64_t largest_table_bytes = 0;
    bool largest_is_split = true; // copied by several workers
    uint64_t indexes = 0;
    uint64_t index_bytes = 0;
    uint64_t large_object_bytes = 0;
    uint64_t materialized_view_bytes = 0;
    uint64_t sequences = 0;
    int table_jobs = 4;
    int index_jobs = 4;

    // Measured, bytes a second of one worker; 0 where there was nothing to measure.
    double read_rate = 0;       // COPY TO on the source, through the network
    double write_rate = 0;      // into a logged table on the target
    double index_rate = 0;      // of table data indexed on the target
    double source_wal_rate = 0; // written on the source by its application
    double sample_seconds = 0;
};

struct EstimateRow {
    std::string item;     // stable: part of the SQL surface
    std::string estimate; // for the eye
    double value = 0;
    std::string unit; // bytes, seconds, bytes/s, connections, processes, count
    std::string basis;
};

// Seconds that the stage cutover takes besides the caller's own checks, with all changes applied:
// materialized views are refreshed at `write_rate` bytes a second, 0 for a usual one.
double CutoverSeconds(uint64_t sequences, uint64_t materialized_view_bytes, double write_rate);

// Index builds and the like, in bytes of the tables that they read.
struct BuildWork {
    uint64_t bytes_done = 0;
    double seconds_done = 0;      // of the workers that did it
    uint64_t bytes_waiting = 0;   // of what has not begun
    uint64_t largest_waiting = 0; // of one
    struct Running {
        uint64_t bytes = 0;
        double seconds = 0; // since it began
    };
    std::vector<Running> running;
};

// Until all of it is done, by the speed so far; nullopt while nothing tells that. What takes longer
// than it should lowers the speed, and is never taken for done.
std::optional<double> SecondsToBuild(const BuildWork &work, int workers);

std::vector<EstimateRow> Estimate(const EstimateInput &input);

} // namespace livemigrate
