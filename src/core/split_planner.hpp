// Cuts large tables into parts, each a range of pages that one copy worker takes from the snapshot.
//
// Every row stands in exactly one part, whatever the figures given here: the ranges of a table join
// without a gap, the first begins at page 0, and the last is open-ended, because the table may have
// grown since its pages were counted.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace livemigrate {

// More parts than this gain nothing and only make the progress tables long.
inline constexpr uint32_t kMaxPartsPerTable = 1024;

struct TableSize {
    uint64_t id = 0;         // the caller's; returned in CopyPart::table_id
    uint64_t pages = 0;      // of the main fork; more than 2^32 - 1 counts as that
    uint64_t bytes = 0;      // to copy: main fork and TOAST
    bool splittable = false; // a heap on a server with TID range scans (PostgreSQL 14)
};

struct CopyPart {
    uint64_t table_id = 0;
    uint32_t part = 0;  // 0 .. parts - 1
    uint32_t parts = 1; // of this table
    uint64_t first_page = 0;
    std::optional<uint64_t> end_page; // exclusive; absent on the last part: open-ended
    uint64_t bytes_estimate = 0;      // the estimates of a table's parts sum up to its bytes

    friend bool operator==(const CopyPart &, const CopyPart &) = default;
};

// The parts of all tables in the order in which to start them.
//
// A splittable table larger than `split_bytes` becomes parts of about that size, at most one a page
// and kMaxPartsPerTable; 0 means never to split. With one job nothing is split.
//
// Order: first the parts that are larger than `split_bytes` and could not be cut further, largest
// first, since the copy cannot end before they do; then table by table, largest first, so that the
// longest index builds start early. Ties go by table id, then by part.
std::vector<CopyPart> PlanParts(std::span<const TableSize> tables, uint64_t split_bytes,
                                uint32_t jobs);

// The WHERE condition that selects the part's rows ("ctid >= '(0,0)'::tid AND ctid < '(n,0)'::tid",
// without the second half on the last one), or "" for a table in one part.
std::string PartCondition(const CopyPart &part);

} // namespace livemigrate
