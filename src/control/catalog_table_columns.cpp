// The part of the catalog that holds what the columns of copied tables were.

#include "control/catalog.hpp"

#include "control/catalog_columns.hpp"
#include "pg/sql_row.hpp"

namespace livemigrate::control {

namespace {

using pg::Number;
using pg::Query;
using pg::Text;

void
Add(Columns &rows, uint32_t key, const std::vector<SourceColumn> &columns) {
    for (const SourceColumn &column : columns) {
        rows.Add(0, std::to_string(key));
        rows.Add(1, std::to_string(column.number));
        rows.Add(2, column.name);
        rows.Add(3, std::to_string(column.type_oid));
        rows.Add(4, std::to_string(column.wire_type_oid));
        rows.Add(5, std::to_string(column.type_modifier));
    }
}

// Keyed by what `key` is of table_copy t; of tables for which `condition` holds.
void
Set(const Columns &rows, int32_t id, const std::string &key, const std::string &condition) {
    Query("INSERT INTO livemigrate.table_columns (migration, table_id, numbers, names, types, "
          "wire_types, type_modifiers) SELECT $1::int, t.id, "
          "pg_catalog.array_agg(b::int ORDER BY b::int), pg_catalog.array_agg(c ORDER BY b::int), "
          "pg_catalog.array_agg(d::oid ORDER BY b::int), "
          "pg_catalog.array_agg(e::oid ORDER BY b::int), "
          "pg_catalog.array_agg(f::int ORDER BY b::int) "
          "FROM ROWS FROM (pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]), "
          "pg_catalog.unnest($4::text[]), pg_catalog.unnest($5::text[]), "
          "pg_catalog.unnest($6::text[]), pg_catalog.unnest($7::text[])) AS u(a, b, c, d, e, f) "
          "JOIN livemigrate.table_copy t ON t.migration = $1::int AND " +
              key + " AND " + condition +
              " GROUP BY t.id ON CONFLICT (migration, table_id) DO UPDATE SET "
              "numbers = excluded.numbers, names = excluded.names, types = excluded.types, "
              "wire_types = excluded.wire_types, type_modifiers = excluded.type_modifiers",
          rows.Parameters(id));
}

} // namespace

void
SetColumnsToCopy(int32_t id, const std::map<uint32_t, std::vector<SourceColumn>> &columns) {
    Columns rows(6);
    for (const auto &[oid, of_table] : columns) {
        Add(rows, oid, of_table);
    }
    Set(rows, id, "t.source_oid = a::oid", "t.state NOT IN ('done', 'skipped')");
}

void
SetColumnsOf(int32_t id, int32_t table, const std::vector<SourceColumn> &columns) {
    Columns rows(6);
    Add(rows, static_cast<uint32_t>(table), columns);
    Set(rows, id, "t.id = a::int", "true");
}

std::map<int32_t, std::vector<SourceColumn>>
LoadColumns(int32_t id) {
    std::map<int32_t, std::vector<SourceColumn>> columns;
    const pg::SqlResult result =
        Query("SELECT t.table_id, u.number, u.name, u.type, u.wire_type, u.modifier "
              "FROM livemigrate.table_columns t, ROWS FROM (pg_catalog.unnest(t.numbers), "
              "pg_catalog.unnest(t.names), pg_catalog.unnest(t.types), "
              "pg_catalog.unnest(t.wire_types), pg_catalog.unnest(t.type_modifiers)) "
              "AS u(number, name, type, wire_type, modifier) WHERE t.migration = $1::int",
              {std::to_string(id)});
    for (const pg::SqlRow &row : result.rows) {
        columns[Number<int32_t>(row, 0)].push_back({
            .number = Number<int16_t>(row, 1),
            .name = Text(row, 2),
            .type_oid = Number<uint32_t>(row, 3),
            .wire_type_oid = Number<uint32_t>(row, 4),
            .type_modifier = Number<int32_t>(row, 5),
        });
    }
    return columns;
}

} // namespace livemigrate::control
