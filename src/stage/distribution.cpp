#include "pg/prelude.hpp"

#include "stage/distribution.hpp"

#include "core/error.hpp"
#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"
#include "pg/table_manager.hpp"

namespace livemigrate::stage {

namespace {

std::string
CallFor(const DistributionOption &option) {
    const std::string table =
        QuoteLiteral(QualifiedName(option.schema, option.table)) + "::pg_catalog.regclass";
    if (option.is_reference()) {
        return "pg_catalog.create_reference_table(" + table + ")";
    }
    std::string call =
        "pg_catalog.create_distributed_table(" + table + ", " + QuoteLiteral(option.column);
    if (option.colocate_none) {
        call += ", colocate_with => 'none'";
    } else if (!option.colocate_table.empty()) {
        call += ", colocate_with => " +
                QuoteLiteral(QualifiedName(option.colocate_schema, option.colocate_table));
    }
    if (option.shard_count > 0) {
        call += ", shard_count => " + std::to_string(option.shard_count);
    }
    return call + ")";
}

} // namespace

Distribution
DistributionOf(const std::string &schema, const std::string &table) {
    if (pg::ManagerOf(schema, table) != pg::TableManager::kCitus) {
        return {};
    }
    const pg::SqlResult found =
        pg::Query("SELECT COALESCE(pg_catalog.column_to_column_name(d.logicalrelid, d.partkey), "
                  "''), d.colocationid FROM pg_catalog.pg_dist_partition d "
                  "JOIN pg_catalog.pg_class c ON c.oid = d.logicalrelid "
                  "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
                  "WHERE n.nspname = $1::name AND c.relname = $2::name "
                  "AND (d.partkey IS NOT NULL OR d.repmodel = 't')",
                  {schema, table});
    if (found.rows.empty()) {
        return {};
    }
    Distribution distribution;
    distribution.column = pg::Text(found.rows[0], 0);
    distribution.group = pg::Text(found.rows[0], 1);
    distribution.kind = distribution.column.empty() ? Distribution::Kind::kReference
                                                    : Distribution::Kind::kDistributed;
    return distribution;
}

// With citus.use_citus_managed_tables every table is Citus's, as a local one.
Placed
Distribute(const DistributionOption &option) {
    const Distribution present = DistributionOf(option.schema, option.table);
    if (present.kind != Distribution::Kind::kLocal) {
        return present.column == option.column ? Placed::kKept : Placed::kOtherwise;
    }
    const std::string call = CallFor(option);
    try {
        pg::Query("SELECT " + call);
    } catch (const Error &error) {
        throw Error(error.sqlstate(), error.message())
            .Detail(error.detail() + (error.detail().empty() ? "" : " ") +
                    "While the options' table " + QualifiedName(option.schema, option.table) +
                    " was made one of Citus's.")
            .Hint((error.hint().empty() ? "" : error.hint() + "\n") +
                  "-- what stands against this, put right, then:\nSELECT " + call +
                  ";\nSELECT livemigrate.migration_resume();");
    }
    return Placed::kNow;
}

std::string
JsonString(std::string_view text) {
    return *pg::Query("SELECT pg_catalog.to_json($1::text)", {std::string(text)}).Scalar();
}

std::string
OptionName(std::string_view schema, std::string_view table) {
    const std::string plain = std::string(schema) + "." + std::string(table);
    const bool is_plain =
        schema.find('.') == std::string_view::npos && plain.find('"') == std::string::npos;
    return JsonString(is_plain ? plain : QualifiedName(schema, table));
}

} // namespace livemigrate::stage
