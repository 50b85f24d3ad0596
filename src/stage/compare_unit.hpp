// One unit of a comparison: a table, or a range of its key or of its pages, on both sides at the
// same time.
#pragma once

#include "source/connection.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace livemigrate::stage {

struct ComparisonUnit {
    uint32_t table = 0; // which of the compared tables
    int32_t part = 0;   // which of its units
    uint64_t bytes = 0; // about
    std::string schema;
    std::string name;
    std::string condition; // on alias "t"; "": the whole table; of a range of pages not SQL
    // Of a range of pages, the condition on each side, where other rows lie in it: its figures mean
    // nothing but added up.
    std::string source_pages;
    std::string target_pages;
    int32_t page_units = 0;  // > 0: the whole table, read only if so many units do not add up alike
    std::string source_from; // FROM without the condition; "": there is no such table
    std::string target_from;
    std::string image;     // of the row, see RowImage
    std::string hash;      // of that, see RowHash
    std::string key_image; // of its key; "": the table has none, and rows are told apart by image
    std::string key_text;  // for people
};

// Units as bytes, to be passed to other processes, and back.
std::string PackUnits(const std::vector<ComparisonUnit> &units);
std::vector<ComparisonUnit> UnpackUnits(std::string_view bytes);

// A row, or several equal ones of a table without key, that are not the same on both sides.
struct DifferingRow {
    std::string key;
    bool on_source = false;
    bool on_target = false;
};

// Of checksums, as decimal text; "" is nothing. Of numbers of rows, where -1 is.
std::string AddSums(const std::string &a, const std::string &b);
int64_t AddRows(int64_t a, int64_t b);

struct UnitResult {
    int64_t source_rows = -1; // -1: there is no such table
    int64_t target_rows = -1;
    std::string source_checksum; // a decimal number of up to 128 bits; "" where there is no table
    std::string target_checksum;
    std::string detail; // why it must not be taken as equal
    std::vector<DifferingRow> rows;

    void
    Add(const UnitResult &other) {
        source_rows = AddRows(source_rows, other.source_rows);
        target_rows = AddRows(target_rows, other.target_rows);
        source_checksum = AddSums(source_checksum, other.source_checksum);
        target_checksum = AddSums(target_checksum, other.target_checksum);
        detail = detail.empty() ? other.detail : detail;
    }
    bool
    IsEqual() const {
        return source_rows == target_rows && source_checksum == target_checksum && detail.empty();
    }
};

// Reads the unit on both sides at once; where they differ, reads again what is needed to name up to
// `max_rows` of the rows, but of a range of pages. `at_snapshot`: both sessions see one moment, and
// a table that was rewritten since is told by detail: such a snapshot no longer sees its rows.
// Locks on the source are gone when it returns. Throws Error with the table's name in its context.
// REQUIRES: an open transaction on the target; with `at_snapshot`, one on the source.
UnitResult CompareUnit(source::Connection &source, const ComparisonUnit &unit, size_t max_rows,
                       bool at_snapshot);

// Opens a session for CompareUnit; with a snapshot's name inside a transaction that has it.
source::Connection OpenComparingSession(const std::string &conninfo, const std::string &snapshot);

} // namespace livemigrate::stage
