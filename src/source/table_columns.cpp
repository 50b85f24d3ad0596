#include "pg/prelude.hpp"

#include "source/table_columns.hpp"

#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

namespace livemigrate::source {

namespace {

// The versions that brought these columns of pg_attribute.
constexpr int kMissingValues = 110000;
constexpr int kGenerated = 120000;

std::string
NotGenerated(const Connection &source) {
    return source.server_version() >= kGenerated ? " AND a.attgenerated = ''" : "";
}

// Domains and enums with the type by which pgoutput's binary values are described, see
// core/wire_types.
std::map<uint32_t, uint32_t>
ListWireTypes(Connection &source, const WaitObserver &observer) {
    std::map<uint32_t, uint32_t> wire_types;
    const pg::SqlResult result =
        source.Query("WITH RECURSIVE made_of AS ("
                     "SELECT oid AS type, oid AS base FROM pg_catalog.pg_type "
                     "WHERE typtype IN ('d', 'e') UNION ALL "
                     "SELECT m.type, t.typbasetype FROM made_of m "
                     "JOIN pg_catalog.pg_type t ON t.oid = m.base WHERE t.typtype = 'd') "
                     "SELECT m.type, CASE t.typtype WHEN 'e' THEN 'anyenum'::pg_catalog.regtype "
                     "ELSE t.oid END::oid FROM made_of m "
                     "JOIN pg_catalog.pg_type t ON t.oid = m.base WHERE t.typtype <> 'd'",
                     observer);
    for (const pg::SqlRow &row : result.rows) {
        wire_types[pg::Number<uint32_t>(row, 0)] = pg::Number<uint32_t>(row, 1);
    }
    return wire_types;
}

} // namespace

ColumnsByTable
ListColumns(Connection &source, const WaitObserver &observer) {
    const std::map<uint32_t, uint32_t> wire_types = ListWireTypes(source, observer);
    ColumnsByTable tables;
    const pg::SqlResult result =
        source.Query("SELECT a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod "
                     "FROM pg_catalog.pg_attribute a "
                     "JOIN pg_catalog.pg_class c ON c.oid = a.attrelid "
                     "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
                     "WHERE c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped "
                     "AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'" +
                         NotGenerated(source) + " ORDER BY a.attrelid, a.attnum",
                     observer);
    for (const pg::SqlRow &row : result.rows) {
        const auto type = pg::Number<uint32_t>(row, 3);
        const auto wire_type = wire_types.find(type);
        tables[pg::Number<uint32_t>(row, 0)].push_back(
            {.number = pg::Number<int16_t>(row, 1),
             .name = pg::Text(row, 2),
             .type_oid = type,
             .wire_type_oid = wire_type == wire_types.end() ? type : wire_type->second,
             .type_modifier = pg::Number<int32_t>(row, 4)});
    }
    return tables;
}

std::vector<ColumnDefinition>
DescribeColumns(Connection &source, const std::string &schema, const std::string &table) {
    const std::string missing = source.server_version() >= kMissingValues
                                    ? "(a.attmissingval::text::text[])[1], a.atthasmissing"
                                    : "NULL, false";
    const pg::SqlResult result = source.Query(
        "SELECT a.attnum, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), "
        "CASE WHEN a.attcollation <> t.typcollation THEN "
        "pg_catalog.quote_ident(cn.nspname) || '.' || pg_catalog.quote_ident(co.collname) END, "
        "a.attnotnull, pg_catalog.pg_get_expr(d.adbin, d.adrelid), " +
        missing +
        " FROM pg_catalog.pg_attribute a "
        "JOIN pg_catalog.pg_type t ON t.oid = a.atttypid "
        "JOIN pg_catalog.pg_class c ON c.oid = a.attrelid "
        "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        "LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "
        "LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation "
        "LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace "
        "WHERE a.attnum > 0 AND NOT a.attisdropped AND n.nspname = " +
        QuoteLiteral(schema) + " AND c.relname = " + QuoteLiteral(table) + NotGenerated(source) +
        " ORDER BY a.attnum");
    std::vector<ColumnDefinition> columns;
    for (const pg::SqlRow &row : result.rows) {
        columns.push_back({.number = pg::Number<int16_t>(row, 0),
                           .name = pg::Text(row, 1),
                           .type = pg::Text(row, 2),
                           .collation = pg::Text(row, 3),
                           .not_null = pg::Flag(row, 4),
                           .default_value = pg::Text(row, 5),
                           .missing_value = pg::Text(row, 6),
                           .has_missing_value = pg::Flag(row, 7)});
    }
    return columns;
}

} // namespace livemigrate::source
