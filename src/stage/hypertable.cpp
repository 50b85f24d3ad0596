#include "pg/prelude.hpp"

#include "stage/hypertable.hpp"

#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/sql_row.hpp"

namespace livemigrate::stage {

namespace {

std::string
CallFor(const HypertableOption &option, const std::string &function, bool integer_time) {
    std::string call = "SELECT FROM " + function + "(relation => " +
                       QuoteLiteral(QualifiedName(option.schema, option.table)) +
                       "::pg_catalog.regclass, time_column_name => " +
                       QuoteLiteral(option.time_column) + "::pg_catalog.name";
    if (!option.chunk_interval.empty()) {
        call += ", chunk_time_interval => " + QuoteLiteral(option.chunk_interval) +
                (integer_time ? "::pg_catalog.int8" : "::pg_catalog.interval");
    }
    if (option.partitions > 0) {
        call += ", partitioning_column => " + QuoteLiteral(option.partition_column) +
                "::pg_catalog.name, number_partitions => " + std::to_string(option.partitions);
    }
    return call + ", create_default_indexes => " + (option.default_index ? "true" : "false") + ")";
}

} // namespace

void
CreateHypertables(const std::vector<HypertableOption> &options) {
    if (options.empty()) {
        return;
    }
    const auto schema =
        pg::Query("SELECT n.nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n "
                  "ON n.oid = e.extnamespace WHERE e.extname = 'timescaledb'")
            .Scalar();
    if (!schema) {
        throw Error(sqlstate::kUndefinedObject,
                    "extension timescaledb is not in the target database")
            .Hint("CREATE EXTENSION timescaledb; SELECT livemigrate.migration_resume();");
    }
    for (const HypertableOption &option : options) {
        const auto type =
            pg::Query("SELECT t.typcategory FROM pg_catalog.pg_attribute a "
                      "JOIN pg_catalog.pg_type t ON t.oid = a.atttypid "
                      "WHERE a.attrelid = $1::regclass AND a.attname = $2::name",
                      {QualifiedName(option.schema, option.table), option.time_column})
                .Scalar();
        pg::Query(CallFor(option, QuoteIdentifier(*schema) + ".create_hypertable", type == "N"));
    }
}

std::vector<std::string>
InvalidateAggregates() {
    if (pg::Query("SELECT FROM pg_catalog.pg_extension WHERE extname = 'timescaledb'")
            .rows.empty()) {
        return {};
    }
    const pg::SqlResult tables =
        pg::Query("SELECT h.id, pg_catalog.format('%I.%I', h.schema_name, h.table_name) "
                  "FROM _timescaledb_catalog.hypertable h "
                  "JOIN pg_catalog.pg_namespace n ON n.nspname = h.schema_name "
                  "JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid "
                  "AND c.relname = h.table_name "
                  "JOIN pg_catalog.pg_trigger g ON g.tgrelid = c.oid "
                  "WHERE g.tgname = 'ts_cagg_invalidation_trigger' ORDER BY 2");
    std::vector<std::string> warnings;
    for (const pg::SqlRow &row : tables.rows) {
        if (!pg::Call([] { return superuser(); })) {
            warnings.push_back("continuous aggregates on " + pg::Text(row, 1) +
                               " that were refreshed during the migration may be out of date; for "
                               "each, run: CALL refresh_continuous_aggregate(..., NULL, NULL, "
                               "force => true);");
            continue;
        }
        // As TRUNCATE of the hypertable does: from the beginning of time to its end.
        pg::Query("INSERT INTO _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log "
                  "VALUES ($1::int, -9223372036854775808, 9223372036854775807)",
                  {pg::Text(row, 0)});
    }
    return warnings;
}

} // namespace livemigrate::stage
