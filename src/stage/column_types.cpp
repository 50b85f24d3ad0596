#include "pg/prelude.hpp"

#include "stage/column_types.hpp"

#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <tuple>

namespace livemigrate::stage {

namespace {

using TableNames = std::vector<std::pair<std::string, std::string>>;
using Parameters = std::vector<pg::SqlValue>;

// So many at a time: thousands of tables have a hundred thousand columns.
constexpr size_t kTablesInQuery = 1000;

constexpr int kGenerated = 120000; // the version that brought generated columns

// The same on both sides. Types are resolved once each, not for every column. A type of an
// extension is the same one in whatever schema that is.
constexpr char kListColumns[] = R"sql(
WITH RECURSIVE stored AS (
    SELECT n.nspname, c.relname, a.attname, a.atttypid, a.atttypmod, a.atthasdef
    FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]))
        AS wanted(nspname, relname)
    JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.nspname::name
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.relname::name
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
    WHERE a.attnum > 0 AND NOT a.attisdropped%not_generated%),
made_of AS (
    SELECT DISTINCT atttypid AS type, atttypid AS base, NULL::int4 AS modifier, false AS is_array
    FROM stored
    UNION ALL
    SELECT m.type, CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.typelem END,
           CASE t.typtype WHEN 'd' THEN t.typtypmod ELSE m.modifier END,
           m.is_array OR t.typtype <> 'd'
    FROM made_of m JOIN pg_catalog.pg_type t ON t.oid = m.base
    WHERE t.typtype = 'd'
       OR EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid)),
base AS (
    SELECT m.type, m.base, m.modifier, m.is_array,
           CASE WHEN n.nspname = 'pg_catalog' THEN '' ELSE COALESCE(x.extname, n.nspname) || '.' END
               || t.typname AS name
    FROM made_of m
    JOIN pg_catalog.pg_type t ON t.oid = m.base
    JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    LEFT JOIN pg_catalog.pg_depend d
      ON d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid
     AND d.deptype = 'e'
    LEFT JOIN pg_catalog.pg_extension x ON x.oid = d.refobjid
    WHERE t.typtype <> 'd' AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid))
SELECT s.nspname, s.relname, s.attname, b.name, COALESCE(b.modifier, s.atttypmod), b.is_array,
       pg_catalog.format_type(s.atttypid, s.atttypmod),
       pg_catalog.format_type(b.base, COALESCE(b.modifier, s.atttypmod))
           || CASE WHEN b.is_array THEN '[]' ELSE '' END,
       s.atthasdef
FROM stored s JOIN base b ON b.type = s.atttypid
)sql";

// From which table a column comes: its type is changed there, for all that inherit it.
constexpr char kFindOrigin[] = R"sql(
WITH RECURSIVE origin AS (
    SELECT c.oid AS relid, 0 AS level
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1::name AND c.relname = $2::name
    UNION ALL
    SELECT i.inhparent, o.level + 1
    FROM origin o
    JOIN pg_catalog.pg_attribute a
      ON a.attrelid = o.relid AND a.attname = $3::name AND a.attinhcount > 0
    JOIN pg_catalog.pg_inherits i ON i.inhrelid = o.relid
    JOIN pg_catalog.pg_attribute p ON p.attrelid = i.inhparent AND p.attname = a.attname)
SELECT n.nspname, c.relname
FROM origin o
JOIN pg_catalog.pg_class c ON c.oid = o.relid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
ORDER BY o.level DESC LIMIT 1
)sql";

std::string
ListColumnsQuery(int version) {
    constexpr std::string_view kPlace = "%not_generated%";
    std::string sql = kListColumns;
    sql.replace(sql.find(kPlace), kPlace.size(),
                version >= kGenerated ? " AND a.attgenerated = ''" : "");
    return sql;
}

struct ListedColumn {
    ColumnType type;
    std::string written;
    std::string base; // written without domains
    bool has_default;
};

using ColumnName = std::tuple<std::string, std::string, std::string>; // schema, table, column
using Columns = std::map<ColumnName, ListedColumn>;

Columns
ReadColumns(const pg::SqlResult &result) {
    Columns columns;
    for (const pg::SqlRow &row : result.rows) {
        columns[{pg::Text(row, 0), pg::Text(row, 1), pg::Text(row, 2)}] = {
            {pg::Text(row, 3), pg::Number<int32_t>(row, 4), pg::Flag(row, 5)},
            pg::Text(row, 6),
            pg::Text(row, 7),
            pg::Flag(row, 8)};
    }
    return columns;
}

std::pair<std::string, std::string>
OriginOf(const ColumnName &column) {
    const auto &[schema, table, name] = column;
    const pg::SqlResult result = pg::Query(kFindOrigin, {schema, table, name});
    return {pg::Text(result.rows.at(0), 0), pg::Text(result.rows.at(0), 1)};
}

// information_schema.sql_identifier is made of varchar before 12, of name since: it holds the same.
bool
IsSameStandardType(const ListedColumn &source, const ListedColumn &target) {
    return source.written == target.written && source.written.starts_with("information_schema.");
}

bool
IsThere(const std::string &type) {
    return pg::Query("SELECT pg_catalog.to_regtype($1) IS NOT NULL", {type}).Scalar() == "t";
}

// The source's type is not always to be had on the target, or another one has its name there. Text
// holds what is known of none.
std::string
FixOf(const std::string &table, const std::string &column, const ListedColumn &source,
      const ListedColumn &target) {
    const auto fix = [&](const ColumnType &type, const std::string &written) {
        return TypeFix(table, column, type, written, target.type, target.has_default);
    };
    if (source.written != target.written && IsThere(source.written)) {
        return fix(source.type, source.written);
    }
    if (IsThere(source.base)) {
        return fix(source.type, source.base);
    }
    const bool is_array = source.type.is_array;
    return fix({"text", -1, is_array}, is_array ? "text[]" : "text");
}

ColumnTypeProblem
ProblemOf(const ColumnName &column, const std::string &table, const ListedColumn &source,
          const ListedColumn &target, const TypeFit &fit) {
    const std::string &name = std::get<2>(column);
    return {fit.kind, table,
            "column " + QuoteIdentifier(name) + " of table " + table + " is " + target.written +
                " on the target and " + source.written + " on the source: " + fit.reason,
            FixOf(table, name, source, target)};
}

} // namespace

std::vector<ColumnTypeProblem>
FindColumnTypeProblems(source::Connection &source, const TableNames &tables) {
    std::vector<ColumnTypeProblem> problems;
    std::set<std::string> fixes;
    const std::string there = ListColumnsQuery(source.server_version());
    const std::string here = ListColumnsQuery(kGenerated);
    for (size_t first = 0; first < tables.size(); first += kTablesInQuery) {
        std::vector<std::string> schemas;
        std::vector<std::string> names;
        for (size_t i = first; i < std::min(first + kTablesInQuery, tables.size()); i++) {
            schemas.push_back(tables[i].first);
            names.push_back(tables[i].second);
        }
        const Parameters wanted = {TextArrayLiteral(schemas), TextArrayLiteral(names)};
        const Columns target = ReadColumns(pg::Query(here, wanted));
        for (const auto &[column, listed] : ReadColumns(source.Query(there, wanted))) {
            const auto found = target.find(column);
            if (found == target.end() || IsSameStandardType(listed, found->second)) {
                continue;
            }
            const TypeFit fit = FitOfTypes(listed.type, found->second.type);
            if (fit.kind == TypeFit::Kind::kHolds) {
                continue;
            }
            const auto [schema, name] = OriginOf(column);
            ColumnTypeProblem problem =
                ProblemOf(column, QualifiedName(schema, name), listed, found->second, fit);
            if (fixes.insert(problem.fix).second) {
                problems.push_back(std::move(problem));
            }
        }
    }
    return problems;
}

} // namespace livemigrate::stage
