// The HTML report of a migration: one page without scripts and without requests, from plain data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace livemigrate {

// Times are seconds since the migration's start.
struct ReportSpan {
    double start = 0;
    double end = 0; // of what still runs: now
};

struct ReportTask { // a table's copy, or a statement after the data
    std::string name;
    std::string kind; // table, index, constraint, ...
    std::string state;
    std::optional<ReportSpan> span; // nullopt: it has not begun
    uint64_t bytes = 0;             // of the table
    uint64_t rows = 0;              // copied
    int parts = 1;
    std::string error;
};

struct ReportStage {
    std::string name;
    ReportSpan span;
};

struct ReportSample {
    double at = 0;
    std::optional<double> lag; // seconds
    double changes = 0;        // a second
    double applied = 0;        // bytes of WAL a second
    double written = 0;        // on the source
    double copied = 0;         // bytes a second
};

struct ReportCheck {
    std::string stage;
    std::string check_id;
    std::string severity;
    std::string object;
    std::string message;
    std::string fix;
};

struct ReportComparison {
    std::string relation;
    std::string source_rows;
    std::string target_rows;
    bool equal = false;
    std::string at;
    std::string detail; // why it differs, and which keys
};

struct ReportSchemaDifference {
    std::string object;
    std::string source; // empty: not there
    std::string target;
};

struct ReportConflict {
    std::string at;
    std::string table;
    std::string key;
    std::string end_lsn; // of the transaction
    std::string message;
    std::string resolution;
};

struct ReportSkipped { // a transaction that skip_transaction passed over
    std::string commit_lsn;
    std::string requested_by;
    std::string requested_at;
    std::string skipped_at; // empty: not yet
    std::string changes;
};

struct ReportEvent {
    std::string at;
    std::string severity;
    std::string stage;
    std::string message;
    std::string detail;
};

struct ReportData {
    std::string migration;
    std::string state;
    std::string stage;
    std::string message;
    std::string hint;
    std::string started;
    std::string ended; // or when the report was made
    std::string made;
    double seconds = 0;
    uint64_t bytes = 0;
    uint64_t rows = 0;
    uint64_t transactions = 0;
    uint64_t changes = 0;
    std::vector<std::pair<std::string, std::string>> settings; // no secrets
    std::vector<ReportStage> stages;
    std::vector<ReportTask> tables;
    std::vector<ReportTask> jobs;
    std::vector<ReportSample> samples;
    std::vector<ReportCheck> checks;
    std::vector<ReportComparison> comparisons;
    std::string schema_compared; // when; empty: never
    std::vector<ReportSchemaDifference> schema_differences;
    std::vector<ReportConflict> conflicts;
    std::vector<ReportSkipped> skipped;
    std::vector<ReportEvent> events;
};

std::string RenderReport(const ReportData &data);

// Tasks side by side as they ran: each lane's spans do not overlap, and there are as few lanes as
// ran at a time. Positions in `tasks`, by start.
std::vector<std::vector<size_t>> LanesOf(const std::vector<ReportTask> &tasks);

} // namespace livemigrate
