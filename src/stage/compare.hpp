// Compares the rows of tables on both sides: a count and a checksum that depends on the multiset of
// rows alone, not on their order, nor on the servers' versions, settings, collations or encodings.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
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

struct TableComparison {
    std::string relation;     // schema.table, quoted where needed
    int64_t source_rows = -1; // -1: there is no such table
    int64_t target_rows = -1;
    std::string source_checksum; // "" where there is no such table
    std::string target_checksum;
    bool equal = false;
    std::string detail; // why it is not equal although the figures are; else ""
};

// One result for each table, in the order of `tables`. Both sides work at the same time: up to two
// connections on the source, this session on the target; either may use parallel query. Columns are
// matched by name. A column that only one side has makes the table unequal, with a detail; the
// checksums then cover the columns of both.
//
// Whatever settings the session has, they are the same afterwards, also after an error.
// REQUIRES: an open transaction. Each side sees what is committed when a table's turn comes.
std::vector<TableComparison> CompareData(const std::string &conninfo,
                                         const std::vector<ComparedTable> &tables);

// The same for (schema, name) pairs, all with ONLY.
std::vector<TableComparison>
CompareData(const std::string &conninfo,
            const std::vector<std::pair<std::string, std::string>> &tables);

} // namespace livemigrate::stage
