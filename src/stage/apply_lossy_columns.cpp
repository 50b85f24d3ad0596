#include "stage/apply_lossy_columns.hpp"

#include "core/sql_text.hpp"
#include "pg/guard.hpp"

#include <algorithm>

namespace livemigrate::stage {

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
        .Hint("If the column has no NULL on the source, run on the target: " + statements +
              "ALTER TABLE " + name + " ALTER COLUMN " + quoted +
              " SET NOT NULL; SELECT livemigrate.migration_resume(); apply then stops where a "
              "value is lost. Otherwise start over with plugin => 'pgoutput', or with wal2json 2.6 "
              "or newer on the source: SELECT livemigrate.migration_abort();");
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
    Relation relation = pg::Call([&] { return table_open(relid, NoLock); });
    TupleDesc descriptor = RelationGetDescr(relation);
    std::string lossy;
    for (int i = 0; i < descriptor->natts; i++) {
        const Form_pg_attribute attribute = TupleDescAttr(descriptor, i);
        const std::string name = NameStr(attribute->attname);
        const bool is_sent =
            std::any_of(remote.columns.begin(), remote.columns.end(),
                        [&](const RemoteColumn &column) { return column.name == name; });
        if (is_sent && !attribute->attisdropped && attribute->attgenerated == '\0' &&
            !attribute->attnotnull && IsLossyType(attribute->atttypid) &&
            (copied == copied_.end() || !copied->second.contains(name))) {
            lossy = name;
        }
    }
    pg::Call([&] { table_close(relation, NoLock); });
    if (!lossy.empty()) {
        throw LossyColumn(remote.schema, remote.name, lossy);
    }
}

} // namespace livemigrate::stage
