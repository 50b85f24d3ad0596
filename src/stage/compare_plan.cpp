#include "pg/prelude.hpp"

#include "stage/compare_plan.hpp"

#include "core/sql_text.hpp"
#include "pg/local_settings.hpp"
#include "pg/sql_row.hpp"
#include "source/catalog_query.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>

namespace livemigrate::stage {

namespace {

constexpr int kShortestFloatVersion = 120000;
constexpr int kTextHashVersion = 110000; // hashtextextended()

// int8, int2, int4, numeric, date, timestamp, timestamptz, uuid: no collation, one order
// everywhere.
constexpr std::array<uint32_t, 8> kSortedAlike = {20, 21, 23, 1700, 1082, 1114, 1184, 2950};

// Bounds of equally many values, if the rows lie in the column's order.
constexpr char kBoundsQuery[] =
    "SELECT b.bound FROM pg_catalog.pg_stats s CROSS JOIN LATERAL pg_catalog.unnest("
    "s.histogram_bounds::pg_catalog.text::pg_catalog.text[]) WITH ORDINALITY AS b(bound, n) "
    "WHERE s.schemaname = $1 AND s.tablename = $2 AND s.attname = $3 AND NOT s.inherited "
    "AND pg_catalog.abs(s.correlation) > 0.9 ORDER BY b.n";

bool
HasSameEncoding(source::Connection &connection) {
    const char *encoding = PQparameterStatus(connection.raw(), "server_encoding");
    return encoding != nullptr && std::string_view(encoding) == GetDatabaseEncodingName();
}

bool
HashesTextAlike(source::Connection &source) {
    if (source.server_version() < kTextHashVersion) {
        return false;
    }
    return source.Query(kTextHashQuery).rows == pg::Query(kTextHashQuery).rows;
}

std::vector<pg::SqlValue>
NameParameters(const std::vector<ComparedTable> &tables) {
    std::vector<std::string> schemas;
    std::vector<std::string> names;
    for (const ComparedTable &table : tables) {
        schemas.push_back(table.schema);
        names.push_back(table.name);
    }
    return {TextArrayLiteral(schemas), TextArrayLiteral(names)};
}

// The columns both sides have; says in `detail` which ones only one of them has.
std::map<std::string, uint32_t>
CommonColumns(const TableShape &source, const TableShape &target, std::string &detail) {
    std::map<std::string, uint32_t> common;
    std::string missing;
    auto add_missing = [&](const std::string &name, const char *side) {
        missing += (missing.empty() ? "" : ", ") + QuoteIdentifier(name) + " on the " + side;
    };
    for (const auto &[name, type] : source.columns) {
        const auto other = target.columns.find(name);
        if (other == target.columns.end()) {
            add_missing(name, "target");
        } else {
            common[name] = other->second == type ? type : 0;
        }
    }
    for (const auto &[name, type] : target.columns) {
        if (source.columns.count(name) == 0) {
            add_missing(name, "source");
        }
    }
    if (!missing.empty()) {
        detail = "Missing columns: " + missing + ".";
    }
    return common;
}

const char *
MissingTable(bool on_source, bool on_target) {
    if (on_source) {
        return "The table does not exist on the target.";
    }
    return on_target ? "The table does not exist on the source."
                     : "The table does not exist on either side.";
}

std::string
From(const ComparedTable &table, bool only) {
    return (only ? "ONLY " : "") + QualifiedName(table.schema, table.name) + " AS t";
}

// Conditions that cut a table with this key into ranges; one empty condition where it stays whole.
std::vector<std::string>
CutByKey(const ComparedTable &table, const TableShape &source, const TableShape &target,
         const std::map<std::string, uint32_t> &columns, uint64_t range_bytes) {
    const uint64_t bytes = std::max(source.bytes, target.bytes);
    if (bytes <= range_bytes || source.key.empty() || target.key.empty() ||
        source.key[0] != target.key[0]) {
        return {""};
    }
    const auto column = columns.find(source.key[0]);
    if (column == columns.end() ||
        std::find(kSortedAlike.begin(), kSortedAlike.end(), column->second) == kSortedAlike.end()) {
        return {""};
    }
    const pg::SqlResult bounds = pg::Query(kBoundsQuery, {table.schema, table.name, column->first});
    if (bounds.rows.size() < 3) {
        return {""};
    }
    // The first and the last are the least and the greatest: no bounds between ranges.
    const size_t inner = bounds.rows.size() - 2;
    const size_t ranges = std::min<size_t>(static_cast<size_t>(bytes / range_bytes) + 1, inner + 1);
    const std::string name = "t." + QuoteIdentifier(column->first);
    std::vector<std::string> conditions;
    std::string from;
    for (size_t range = 1; range < ranges; range++) {
        const std::string bound =
            QuoteLiteral(pg::Text(bounds.rows[range * inner / ranges + 1], 0));
        conditions.push_back((from.empty() ? "" : from + " AND ") + name + " < " + bound);
        from = name + " >= " + bound;
    }
    conditions.push_back(from);
    return conditions;
}

// A table that is cut at pages, each side at its own, so that as many ranges are the whole on both.
struct PageCut {
    unsigned ranges = 0;
    unsigned long long source_pages = 0;
    unsigned long long target_pages = 0;
};

constexpr char kRangeOfPages[] = "pages %u of %u (%llu on the source, %llu on the target)";

std::string
DescribeRange(const PageCut &cut, unsigned range) {
    std::array<char, 120> text{};
    snprintf(text.data(), text.size(), kRangeOfPages, range + 1, cut.ranges, cut.source_pages,
             cut.target_pages);
    return text.data();
}

// What DescribeRange has made of it.
std::optional<PageCut>
ParseRange(const std::string &text) {
    PageCut cut;
    unsigned range = 0;
    const int found = sscanf(text.c_str(), kRangeOfPages, &range, &cut.ranges, &cut.source_pages,
                             &cut.target_pages);
    return found == 4 && cut.ranges > 0 ? std::optional(cut) : std::nullopt;
}

// The last range has no end: the table may grow.
std::string
PageCondition(unsigned long long pages, unsigned range, unsigned ranges) {
    const auto bound = [&](unsigned at) {
        return "'(" + std::to_string(pages * at / ranges) + ",0)'::pg_catalog.tid";
    };
    return "t.ctid >= " + bound(range) +
           (range + 1 < ranges ? " AND t.ctid < " + bound(range + 1) : "");
}

// Of a heap; else nothing. $1: the name.
constexpr char kPagesQuery[] =
    "SELECT pg_catalog.pg_relation_size(c.oid) / "
    "pg_catalog.current_setting('block_size')::pg_catalog.int8 FROM pg_catalog.pg_class c JOIN "
    "pg_catalog.pg_am m ON m.oid = c.relam WHERE c.oid = $1::pg_catalog.regclass AND c.relkind = "
    "'r' AND m.amname = 'heap'";

// Where the pages of both sides can be cut, and reading a range costs only its own.
std::optional<PageCut>
CutByPages(source::Connection &source, const ComparedTable &table, uint64_t bytes,
           uint64_t range_bytes) {
    if (bytes <= range_bytes || !table.source_only || !table.target_only ||
        source.server_version() < source::kTidRangeScanVersion) {
        return std::nullopt;
    }
    const std::vector<pg::SqlValue> name = {QualifiedName(table.schema, table.name)};
    const pg::SqlResult there = source.Query(kPagesQuery, name);
    const pg::SqlResult here = pg::Query(kPagesQuery, name);
    if (there.rows.empty() || here.rows.empty()) {
        return std::nullopt;
    }
    PageCut cut;
    cut.source_pages = pg::Number<uint64_t>(there.rows[0], 0);
    cut.target_pages = pg::Number<uint64_t>(here.rows[0], 0);
    const uint64_t pages = std::max(cut.source_pages, cut.target_pages);
    cut.ranges = static_cast<unsigned>(std::min<uint64_t>(bytes / range_bytes + 1, pages));
    return cut.ranges > 1 ? std::optional(cut) : std::nullopt;
}

// The ranges, and behind them the unit that they add up to.
void
AddPageUnits(std::vector<ComparisonUnit> &units, ComparisonUnit unit, const PageCut &cut,
             uint64_t bytes) {
    unit.bytes = bytes / cut.ranges;
    for (unsigned range = 0; range < cut.ranges; range++) {
        unit.part = static_cast<int32_t>(range);
        unit.condition = DescribeRange(cut, range);
        unit.source_pages = PageCondition(cut.source_pages, range, cut.ranges);
        unit.target_pages = PageCondition(cut.target_pages, range, cut.ranges);
        units.push_back(unit);
    }
    unit.part++;
    unit.bytes = 0;
    unit.page_units = unit.part;
    unit.condition.clear();
    unit.source_pages.clear();
    unit.target_pages.clear();
    units.push_back(std::move(unit));
}

} // namespace

ComparisonPlan
PlanComparison(source::Connection &source, const std::vector<ComparedTable> &tables,
               uint64_t range_bytes, const KnownParts &known) {
    // Bounds of ranges are read as text here, and by workers whose settings are these.
    const pg::LocalSettings settings(
        {{"DateStyle", "ISO, MDY"}, {"IntervalStyle", "postgres"}, {"TimeZone", "UTC"}});
    const ImageRules rules{HasSameEncoding(source),
                           source.server_version() >= kShortestFloatVersion,
                           HashesTextAlike(source)};
    const std::vector<pg::SqlValue> names = NameParameters(tables);
    const auto source_shapes = ReadShapes(source.Query(ShapesQuery(), names), tables.size());
    const auto target_shapes = ReadShapes(pg::Query(ShapesQuery(), names), tables.size());
    ComparisonPlan plan;
    plan.details.resize(tables.size());
    for (size_t i = 0; i < tables.size(); i++) {
        const ComparedTable &table = tables[i];
        const TableShape &there = source_shapes[i];
        const TableShape &here = target_shapes[i];
        if (!there.exists || !here.exists) {
            plan.details[i] = MissingTable(there.exists, here.exists);
        }
        // With a table missing, the other side's rows are counted all the same.
        const auto columns = there.exists && here.exists
                                 ? CommonColumns(there, here, plan.details[i])
                                 : (there.exists ? there : here).columns;
        ComparisonUnit unit;
        unit.table = static_cast<uint32_t>(i);
        unit.schema = table.schema;
        unit.name = table.name;
        unit.source_from = there.exists ? From(table, table.source_only) : "";
        unit.target_from = here.exists ? From(table, table.target_only) : "";
        unit.image = RowImage(columns, rules);
        unit.hash = RowHash(unit.image, rules);
        unit.key_text = RowText(columns);
        std::map<std::string, uint32_t> key;
        for (const std::string &name : there.key) {
            if (const auto column = columns.find(name); column != columns.end()) {
                key.insert(*column);
            }
        }
        if (!key.empty() && key.size() == there.key.size()) {
            unit.key_image = RowImage(key, rules);
            unit.key_text = KeyText(there.key);
        }
        const auto parts = known.find({table.schema, table.name});
        const std::vector<std::string> conditions =
            parts != known.end() ? parts->second
                                 : CutByKey(table, there, here, columns, range_bytes);
        const uint64_t bytes = std::max(there.bytes, here.bytes);
        std::optional<PageCut> pages = ParseRange(conditions[0]);
        if (parts == known.end() && conditions.size() == 1 && there.bytes > 0 && here.bytes > 0) {
            pages = CutByPages(source, table, bytes, range_bytes);
        }
        if (pages) {
            AddPageUnits(plan.units, unit, *pages, bytes);
            continue;
        }
        unit.bytes = bytes / conditions.size();
        for (const std::string &condition : conditions) {
            unit.condition = condition;
            plan.units.push_back(unit);
            unit.part++;
        }
    }
    std::stable_sort(
        plan.units.begin(), plan.units.end(),
        [](const ComparisonUnit &a, const ComparisonUnit &b) { return a.bytes > b.bytes; });
    return plan;
}

} // namespace livemigrate::stage
