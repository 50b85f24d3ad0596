// Checks for rows so long that copying them is a question of memory, or impossible. The tables are
// found by the size of what they keep outside of the row, and the rows by what their pointers to it
// say, so that no long value is read.
#include "pg/prelude.hpp"

#include "stage/preflight_run.hpp"

#include "core/operator_text.hpp"
#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

#include <algorithm>
#include <map>
#include <unistd.h>

namespace livemigrate::stage {

namespace {

using source::SourceTable;

constexpr uint64_t kPageBytes = 8192;
// Kept outside of the rows, compressed: what may hold a value worth looking for.
constexpr uint64_t kWorthALook = 2 << 20;
// Read of a table; a larger one is sampled. Tables with the most outside of their rows come first.
constexpr uint64_t kPagesOfTable = 2048;
constexpr size_t kMostTables = 50;
// What a copy worker takes for a row, in lengths of it: see doc/performance.md.
constexpr uint64_t kCopiesOfRow = 6;
// As text, a bytea value of this length has PostgreSQL's longest, 1 GB.
constexpr uint64_t kLongestAsText = uint64_t{1} << 29;

struct WideTable {
    const SourceTable *table;
    uint64_t longest = 0;
};

uint64_t
BytesOutside(const SourceTable &table) {
    const uint64_t inside = table.pages * kPageBytes;
    return table.bytes > inside ? table.bytes - inside : 0;
}

std::vector<WideTable>
Candidates(const PreflightRun &run) {
    std::vector<WideTable> found;
    for (const SourceTable &table : run.result.tables) {
        if (table.relkind == 'r' && run.HasData(table) && table.can_select && !table.row_security &&
            BytesOutside(table) >= kWorthALook) {
            found.push_back({&table});
        }
    }
    std::sort(found.begin(), found.end(), [](const WideTable &a, const WideTable &b) {
        return BytesOutside(*a.table) > BytesOutside(*b.table);
    });
    found.resize(std::min(found.size(), kMostTables));
    return found;
}

// By table, an expression for the length of a row's long values: before compression where the type
// tells, else as stored.
std::map<uint32_t, std::string>
LengthExpressions(PreflightRun &run, const std::vector<WideTable> &tables) {
    std::string oids;
    for (const WideTable &wide : tables) {
        oids += (oids.empty() ? "" : ",") + std::to_string(wide.table->oid);
    }
    const pg::SqlResult columns = run.source.Query(
        "SELECT attrelid, attname, atttypid IN (17, 25, 1043) FROM pg_catalog.pg_attribute"
        " WHERE attrelid IN (" +
        oids + ") AND attnum > 0 AND NOT attisdropped AND attstorage IN ('x', 'e', 'm')");
    std::map<uint32_t, std::string> expressions;
    for (const pg::SqlRow &row : columns.rows) {
        std::string &text = expressions[pg::Number<uint32_t>(row, 0)];
        text += (text.empty() ? "" : " + ") + std::string("COALESCE(pg_catalog.") +
                (pg::Flag(row, 2) ? "octet_length(" : "pg_column_size(") +
                QuoteIdentifier(pg::Text(row, 1)) + ")::pg_catalog.int8, 0)";
    }
    return expressions;
}

// A table that somebody has locked, or that we may not read, is not waited for: other checks and
// the copy tell of it.
uint64_t
LongestRow(PreflightRun &run, const SourceTable &table, const std::string &length) {
    std::string sample;
    if (table.pages > kPagesOfTable) {
        sample = " TABLESAMPLE SYSTEM (" +
                 std::to_string(100.0 * static_cast<double>(kPagesOfTable) /
                                static_cast<double>(table.pages)) +
                 ")";
    }
    try {
        run.source.Query("BEGIN READ ONLY; SET LOCAL lock_timeout = '100ms'");
        const pg::SqlResult found = run.source.Query("SELECT pg_catalog.max(" + length +
                                                     ") FROM ONLY " + TableName(table) + sample);
        run.source.Query("COMMIT");
        return pg::Number<uint64_t>(found.rows.at(0), 0);
    } catch (const Error &error) {
        if (error.sqlstate() != sqlstate::kLockNotAvailable &&
            error.sqlstate() != sqlstate::kInsufficientPrivilege) {
            throw;
        }
        run.source.Query("ROLLBACK");
        return 0;
    }
}

std::string
FixOfLongRow(const SourceTable &table) {
    return Comment("make its longest rows shorter, or: migration_start(..., exclude_table_data => "
                   "ARRAY[" +
                   QuoteLiteral(table.schema + "." + table.name) +
                   "]), and take its rows along by other means");
}

} // namespace

void
CheckWideRows(PreflightRun &run) {
    std::vector<WideTable> tables = Candidates(run);
    WideTable longest = {nullptr};
    if (!tables.empty()) {
        const std::map<uint32_t, std::string> expressions = LengthExpressions(run, tables);
        for (WideTable &wide : tables) {
            const auto found = expressions.find(wide.table->oid);
            if (found != expressions.end()) {
                wide.longest = LongestRow(run, *wide.table, found->second);
            }
            if (wide.longest >= longest.longest) {
                longest = wide;
            }
            if (wide.longest >= kLongestAsText) {
                run.Warning("wide_rows", TableName(*wide.table),
                            "a row has " + FormatBytes(wide.longest) +
                                ": the source cannot send one of 1 GB, nor a bytea value of 512 MB "
                                "that travels as text because of another column's type; where that "
                                "is so, the copy stops at this table",
                            FixOfLongRow(*wide.table));
            }
        }
    }
    const auto jobs = static_cast<uint64_t>(std::max(1, run.settings.table_jobs));
    const uint64_t each = kCopiesOfRow * longest.longest;
    const long pages = ::sysconf(_SC_PHYS_PAGES);
    const long page_size = ::sysconf(_SC_PAGESIZE);
    if (longest.table == nullptr || pages <= 0 || page_size <= 0) {
        run.Ok("copy_memory", "target", "no table has rows so long that their copy takes memory");
        return;
    }
    const auto physical = static_cast<uint64_t>(pages) * static_cast<uint64_t>(page_size);
    const std::string text = "the longest row seen has " + FormatBytes(longest.longest) + ", in " +
                             TableName(*longest.table) + ": " + Counted(jobs, "copy worker") +
                             " may take " + FormatBytes(jobs * each) +
                             " of memory together, the target's machine has " +
                             FormatBytes(physical);
    if (jobs * each <= physical / 2) {
        run.Ok("copy_memory", "target", text);
        return;
    }
    run.Warning("copy_memory", "target", text,
                Comment("migration_start(..., table_jobs => " +
                        std::to_string(std::max<uint64_t>(1, physical / 2 / each)) + ")"));
}

} // namespace livemigrate::stage
