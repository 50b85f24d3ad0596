#include "pg/prelude.hpp"

#include "stage/column_types.hpp"

#include "core/call_hint.hpp"
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
    SELECT n.nspname, c.relname, a.attname, a.atttypid, a.atttypmod, a.atthasdef,
           a.attnotnull, %generation% AS generation
    FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]))
        AS wanted(nspname, relname)
    JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.nspname::name
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.relname::name
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
    WHERE a.attnum > 0 AND NOT a.attisdropped),
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
       s.atthasdef, s.generation, s.attnotnull
FROM stored s JOIN base b ON b.type = s.atttypid
)sql";

// Of a generated column how it is made of others, for a statement that makes it; else NULL. With
// the column's collation, which is not a part of its type.
constexpr char kGeneration[] = R"sql(
    CASE WHEN a.attgenerated <> '' THEN COALESCE((
        SELECT pg_catalog.format('COLLATE %I.%I ', cn.nspname, co.collname)
        FROM pg_catalog.pg_type t
        JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation AND co.oid <> t.typcollation
        JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace
        WHERE t.oid = a.atttypid), '') || (
        SELECT pg_catalog.format('GENERATED ALWAYS AS (%s)', pg_catalog.pg_get_expr(d.adbin, c.oid))
        FROM pg_catalog.pg_attrdef d WHERE d.adrelid = c.oid AND d.adnum = a.attnum)
    END)sql";

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

// Triggers that see a row before it is written, for tgtype: whether some that fire in replica role
// see each row and have NEW's column ($4) in their source, and those that do not fire, with what
// makes them. That of a partitioned table is enabled there: $3.
constexpr char kFillingTriggers[] = R"sql(
WITH filling AS (
    SELECT t.tgname, t.tgtype & 4 <> 0 AS on_insert, t.tgtype & 16 <> 0 AS on_update,
           t.tgenabled IN ('A', 'R') AS fires,
           t.tgqual IS NULL AND t.tgattr::pg_catalog.text = ''
               AND p.prosrc ~* (E'\\mnew\\s*\\.\\s*"?' ||
                                pg_catalog.regexp_replace($4, E'\\W', E'\\\\\\&', 'g') || E'("|\\M)') AS fills,
           CASE WHEN t.tgparentid <> 0 THEN $3 ELSE pg_catalog.format('%I.%I', $1, $2) END AS owner
    FROM pg_catalog.pg_trigger t
    JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
    JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1::name AND c.relname = $2::name AND t.tgenabled <> 'D'
      AND t.tgtype & 3 = 3 AND t.tgtype & 20 <> 0)
SELECT COALESCE(pg_catalog.bool_or(fires AND fills AND on_insert)
                AND pg_catalog.bool_or(fires AND fills AND on_update), false),
       pg_catalog.string_agg(pg_catalog.quote_ident(tgname), ', ' ORDER BY tgname)
           FILTER (WHERE NOT fires),
       pg_catalog.string_agg(pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I;',
                                               owner, tgname), ' ' ORDER BY tgname)
           FILTER (WHERE NOT fires)
FROM filling
)sql";

std::string
ListColumnsQuery(int version) {
    constexpr std::string_view kPlace = "%generation%";
    std::string sql = kListColumns;
    sql.replace(sql.find(kPlace), kPlace.size(),
                version >= kGenerated ? kGeneration : "NULL::text");
    return sql;
}

struct ListedColumn {
    ColumnType type;
    std::string written;
    std::string base; // written without domains
    bool has_default;
    std::string generation; // empty: its values are its own
    bool not_null;
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
            pg::Flag(row, 8),
            pg::Text(row, 9),
            pg::Flag(row, 10)};
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

TypeFit
FitOfSent(const ListedColumn &source, const ListedColumn &target) {
    return IsSameStandardType(source, target) ? TypeFit{} : FitOfTypes(source.type, target.type);
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

// Indexes and constraints that would go with the column.
bool
HasMore(const ColumnName &origin) {
    const auto &[schema, table, name] = origin;
    return pg::Query("SELECT EXISTS (SELECT FROM pg_catalog.pg_attribute a"
                     " JOIN pg_catalog.pg_class c ON c.oid = a.attrelid"
                     " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                     " JOIN pg_catalog.pg_depend d"
                     "   ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass"
                     "  AND d.refobjid = c.oid AND d.refobjsubid = a.attnum"
                     "  AND d.classid IN ('pg_catalog.pg_class'::pg_catalog.regclass,"
                     "                    'pg_catalog.pg_constraint'::pg_catalog.regclass)"
                     " WHERE n.nspname = $1::name AND c.relname = $2::name"
                     "   AND a.attname = $3::name AND d.deptype = 'a')",
                     {schema, table, name})
               .Scalar() == "t";
}

// Nobody sends values of a generated column: a plain one of the target would have none, unless a
// trigger makes them.
ColumnTypeProblem
NotSent(const ColumnName &listed, const ColumnName &origin, const ListedColumn &source,
        const ListedColumn &target) {
    const auto &[schema, table_name, column] = origin;
    const std::string table = QualifiedName(schema, table_name);
    const std::string name = QuoteIdentifier(column);
    const std::string &type = IsThere(source.written) ? source.written : target.written;
    std::string message = "column " + name + " of table " + table +
                          " is a plain one on the target and generated on the source: its values "
                          "are not sent";
    std::string fix =
        "ALTER TABLE " + table + " DROP COLUMN " + name + ", ADD COLUMN " + name + " " + type +
        " " + source.generation + " STORED" + (source.not_null ? " NOT NULL" : "") + ";" +
        (HasMore(origin) ? " -- then make its indexes and constraints as on the source" : "");
    const pg::SqlResult triggers =
        pg::Query(kFillingTriggers, {std::get<0>(listed), std::get<1>(listed), table, column});
    const pg::SqlRow &row = triggers.rows.at(0);
    if (pg::Flag(row, 0)) {
        return {TypeFit::Kind::kDoubtful, table,
                message + ", and a trigger of the target has to make them", fix};
    }
    if (row[1]) {
        fix += "\n" +
               Comment("or, if what makes them is trigger " + *row[1] + ": " + pg::Text(row, 2));
    }
    return {TypeFit::Kind::kChanges, table, message, fix};
}

} // namespace

std::vector<ColumnTypeProblem>
FindColumnTypeProblems(source::Connection &source, const TableNames &tables) {
    std::vector<ColumnTypeProblem> problems;
    std::vector<ColumnTypeProblem> not_sent; // last: a generated column holds others to their types
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
            if (found == target.end() || !found->second.generation.empty()) {
                continue;
            }
            const bool is_sent = listed.generation.empty();
            const TypeFit fit = FitOfSent(listed, found->second);
            if (is_sent && fit.kind == TypeFit::Kind::kHolds) {
                continue;
            }
            const auto [schema, name] = OriginOf(column);
            ColumnTypeProblem problem =
                is_sent
                    ? ProblemOf(column, QualifiedName(schema, name), listed, found->second, fit)
                    : NotSent(column, {schema, name, std::get<2>(column)}, listed, found->second);
            if (fixes.insert(problem.fix).second) {
                (is_sent ? problems : not_sent).push_back(std::move(problem));
            }
        }
    }
    std::move(not_sent.begin(), not_sent.end(), std::back_inserter(problems));
    return problems;
}

} // namespace livemigrate::stage
