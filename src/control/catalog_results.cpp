// What checks and comparisons found, kept for the report.

#include "control/catalog.hpp"

#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

namespace livemigrate::control {

namespace {

// One parameter for each column of the rows, each a text[] literal.
std::vector<pg::SqlValue>
ByColumn(int32_t id, const std::vector<std::vector<std::string>> &rows, size_t columns) {
    std::vector<pg::SqlValue> parameters = {std::to_string(id)};
    for (size_t column = 0; column < columns; column++) {
        std::vector<std::string> values;
        values.reserve(rows.size());
        for (const std::vector<std::string> &row : rows) {
            values.push_back(row.at(column));
        }
        parameters.emplace_back(TextArrayLiteral(values));
    }
    return parameters;
}

} // namespace

void
KeepChecks(int32_t id, Stage stage, const std::vector<std::vector<std::string>> &rows) {
    std::vector<pg::SqlValue> parameters = ByColumn(id, rows, 5);
    parameters.emplace_back(std::string(StageName(stage)));
    pg::Query("DELETE FROM livemigrate.check_result WHERE migration = $1::int AND stage = $2",
              {parameters.front(), parameters.back()});
    pg::Query("INSERT INTO livemigrate.check_result (migration, stage, position, check_id, "
              "severity, object, message, fix) "
              "SELECT $1::int, $7, n, a, b, NULLIF(c, ''), d, NULLIF(e, '') "
              "FROM ROWS FROM (pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]), "
              "pg_catalog.unnest($4::text[]), pg_catalog.unnest($5::text[]), "
              "pg_catalog.unnest($6::text[])) WITH ORDINALITY AS t(a, b, c, d, e, n)",
              parameters);
}

void
KeepComparisons(int32_t id, const std::vector<std::vector<std::string>> &rows) {
    pg::Query(
        "INSERT INTO livemigrate.comparison (migration, relation, source_rows, target_rows, "
        "source_checksum, target_checksum, equal, differing_keys, detail, lsn) "
        "SELECT $1::int, a, NULLIF(b, '')::bigint, "
        "NULLIF(c, '')::bigint, NULLIF(d, ''), NULLIF(e, ''), f::boolean, "
        "NULLIF(g, '')::text[], NULLIF(h, ''), NULLIF(i, '')::pg_lsn FROM ROWS FROM ("
        "pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]), "
        "pg_catalog.unnest($4::text[]), pg_catalog.unnest($5::text[]), "
        "pg_catalog.unnest($6::text[]), pg_catalog.unnest($7::text[]), "
        "pg_catalog.unnest($8::text[]), pg_catalog.unnest($9::text[]), "
        "pg_catalog.unnest($10::text[])) AS t(a, b, c, d, e, f, g, h, i) "
        "ON CONFLICT (migration, relation) DO UPDATE SET at = pg_catalog.clock_timestamp(), "
        "source_rows = excluded.source_rows, target_rows = excluded.target_rows, "
        "source_checksum = excluded.source_checksum, "
        "target_checksum = excluded.target_checksum, equal = excluded.equal, "
        "differing_keys = excluded.differing_keys, detail = excluded.detail, lsn = excluded.lsn",
        ByColumn(id, rows, 9));
}

void
KeepSchemaComparison(int32_t id, const std::vector<std::vector<std::string>> &rows) {
    pg::Query("INSERT INTO livemigrate.schema_comparison (migration, objects, sources, targets) "
              "VALUES ($1::int, $2::text[], $3::text[], $4::text[]) ON CONFLICT (migration) DO "
              "UPDATE SET at = pg_catalog.clock_timestamp(), objects = excluded.objects, "
              "sources = excluded.sources, targets = excluded.targets",
              ByColumn(id, rows, 3));
}

} // namespace livemigrate::control
