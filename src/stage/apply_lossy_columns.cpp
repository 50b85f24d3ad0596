#include "stage/apply_lossy_columns.hpp"

#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

#include <algorithm>

namespace livemigrate::stage {

namespace {

// A check that is not valid is none for the rows that are there, but for every one that is written.
// The target may be older than NOT ENFORCED, which came with 18.
constexpr char kNullableColumns[] = R"sql(
SELECT a.attname, a.atttypid
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = $1::pg_catalog.oid AND a.attnum > 0 AND NOT a.attisdropped
  AND NOT a.attnotnull AND a.attgenerated = ''
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_constraint k
      WHERE k.conrelid = a.attrelid AND k.contype = 'c' AND k.conkey = ARRAY[a.attnum]
        AND pg_catalog.to_jsonb(k) ->> 'conenforced' IS DISTINCT FROM 'false'
        AND pg_catalog.pg_get_expr(k.conbin, k.conrelid)
            = pg_catalog.format('(%I IS NOT NULL)', a.attname))
)sql";

} // namespace

bool
LosesNumbers(Plugin plugin, bool numeric_option) {
    return plugin == Plugin::kWal2json && !numeric_option;
}

bool
IsLossyType(uint32_t type_oid) {
    return type_oid == FLOAT4OID || type_oid == FLOAT8OID || type_oid == NUMERICOID;
}

Error
LossyColumn(const std::string &schema, const std::string &table, const std::string &column,
            const std::string &statements) {
    const std::string name = QualifiedName(schema, table);
    const std::string quoted = QuoteIdentifier(column);
    return Error(sqlstate::kFeatureNotSupported,
                 "column " + quoted + " of table " + name +
                     " cannot be replicated without loss: this wal2json sends NaN and Infinity of "
                     "float and numeric columns as NULL")
        .Detail("The source's table got the column, or its type, after the migration began. A NULL "
                "of the change stream may be one of these values.")
        .Hint("If no row is written on the source whose column is NULL, run on the target: " +
              statements + "ALTER TABLE " + name + " ADD CHECK (" + quoted +
              " IS NOT NULL) NOT VALID; SELECT livemigrate.migration_resume(); apply then stops "
              "where a value is lost, and at an UPDATE that leaves a row's column NULL. The "
              "constraint may be dropped after the cutover. Otherwise start over with plugin => "
              "'pgoutput', or with wal2json 2.6 or newer on the source: "
              "SELECT livemigrate.migration_abort();");
}

std::map<std::string, uint32_t>
NullableColumns(Oid relid) {
    std::map<std::string, uint32_t> types;
    const pg::SqlResult result = pg::Query(kNullableColumns, {std::to_string(relid)});
    for (const pg::SqlRow &row : result.rows) {
        types[pg::Text(row, 0)] = pg::Number<uint32_t>(row, 1);
    }
    return types;
}

LossyColumns::LossyColumns(const ApplySettings &settings)
    : is_lossy_(LosesNumbers(settings.plugin, settings.wal2json_numeric_option)) {
    for (const CopyTable &table : settings.tables) {
        const auto columns = settings.columns.find(table.id);
        if (!is_lossy_ || columns == settings.columns.end()) {
            continue;
        }
        std::set<std::string> &names = copied_[{table.schema, table.name}];
        for (const SourceColumn &column : columns->second) {
            names.insert(column.name);
        }
    }
}

void
LossyColumns::Check(const RemoteRelation &remote, Oid relid) const {
    if (!is_lossy_) {
        return;
    }
    const auto copied = copied_.find({remote.schema, remote.name});
    const std::map<std::string, uint32_t> nullable = NullableColumns(relid);
    for (const RemoteColumn &column : remote.columns) {
        const auto found = nullable.find(column.name);
        if (found != nullable.end() && IsLossyType(found->second) &&
            (copied == copied_.end() || !copied->second.contains(column.name))) {
            throw LossyColumn(remote.schema, remote.name, column.name);
        }
    }
}

} // namespace livemigrate::stage
