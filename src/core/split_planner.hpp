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

// A table that stays whole may become this many times as large as a part: what a lost connection
// has to copy again.
inline constexpr uint32_t kMaxPartsInWhole = 8;

// Only a heap on a server with TID range scans (PostgreSQL 14) can be split.
enum class Splitting : uint8_t {
    kNever,
    kIfUneven, // unless the tables are shared out evenly without
    kAlways,   // what takes the rows has room for a part only
};

struct TableSize {
    uint64_t id = 0;    // the caller's; returned in CopyPart::table_id
    uint64_t pages = 0; // of the main fork; more than 2^32 - 1 counts as that
    uint64_t bytes = 0; // to copy: main fork and TOAST
    Splitting splitting = Splitting::kNever;
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
// A table larger than `split_bytes` becomes parts of about that size, at most one a page and
// kMaxPartsPerTable; 0 means never to split. With one job nothing is split. Nor is a table of up to
// kMaxPartsInWhole parts by which no job gets much more than its share: reading ranges costs the
// source half as much again, because a scan of a range goes through all of its shared buffers,
// where that of a whole table takes a small ring of them (table_beginscan_tidrange() of
// PostgreSQL's tableam.h does not allow the strategy that initscan() of heapam.c chooses).
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
