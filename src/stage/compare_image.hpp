// The text that stands for a row when two servers' rows are compared, and what must be known of a
// table to make it.
#pragma once

#include "pg/spi.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace livemigrate::stage {

struct ComparedTable {
    std::string schema;
    std::string name;
    // Without the rows of inheritance children. Partitioned tables, and on the target hypertables
    // and distributed tables, are read without ONLY.
    bool source_only = true;
    bool target_only = true;
};

struct TableShape {
    bool exists = false;
    uint64_t bytes = 0;
    std::map<std::string, uint32_t> columns; // name to base type; 0: unlike on the two sides
    std::vector<std::string> key;            // of the primary key or the replica identity's index
};

// How values are turned into a row image; the same for both sides.
struct ImageRules {
    bool same_encoding = true;
    bool exact_float_text = true;
    bool same_text_hash = false; // hashtextextended() gives the same on both sides
};

// Columns with their base type, tables with their size (0 where it would wait for a lock) and key.
// $1: schemas, $2: names.
std::string ShapesQuery();

// In the order of the query's arguments.
std::vector<TableShape> ReadShapes(const pg::SqlResult &result, size_t tables);

// An expression over table alias "t", of type text or bytea, that is the same exactly for equal
// rows of these columns.
std::string RowImage(const std::map<std::string, uint32_t> &columns, const ImageRules &rules);

// An expression of type int8: 64 bits of a hash of such an image.
std::string RowHash(const std::string &image, const ImageRules &rules);

// hashtextextended() of some texts. Not before version 11.
extern const char *const kTextHashQuery;

// An expression of type text over alias "t" that shows the columns: "(a, b)=(1, x)".
std::string KeyText(const std::vector<std::string> &columns);

// The beginning of the row's text, for a table without key.
std::string RowText(const std::map<std::string, uint32_t> &columns);

} // namespace livemigrate::stage
