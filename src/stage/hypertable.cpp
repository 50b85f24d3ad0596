#include "pg/prelude.hpp"

#include "stage/hypertable.hpp"

#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/sql_row.hpp"

#include <algorithm>

namespace livemigrate::stage {

namespace {

// Unique indexes and exclusion constraints: name, constraint's type or '', definition, and one row
// for each key column, an expression's being NULL. And the foreign keys that rest on them.
std::string
KeysQuery(uint32_t table) {
    return "SELECT c.relname, COALESCE(k.contype::text, ''), a.attname, "
           "pg_catalog.pg_get_indexdef(i.indexrelid), "
           "(SELECT pg_catalog.string_agg(pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I;', "
           "f.conrelid::pg_catalog.regclass, f.conname), ' ') FROM pg_catalog.pg_constraint f "
           "WHERE f.contype = 'f' AND f.conindid = i.indexrelid AND f.confrelid = i.indrelid) "
           "FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid "
           "CROSS JOIN LATERAL pg_catalog.unnest(i.indkey) WITH ORDINALITY AS u(attnum, n) "
           "LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND "
           "a.attnum = u.attnum AND u.attnum > 0 "
           "LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = i.indexrelid AND "
           "k.contype IN ('p', 'u', 'x') AND k.conrelid = i.indrelid "
           "WHERE i.indrelid = " +
           std::to_string(table) +
           " AND (i.indisunique OR i.indisexclusion) AND u.n <= i.indnkeyatts "
           "ORDER BY c.relname, u.n";
}

struct SourceKey {
    std::string name;
    std::string kind; // p, u, x; "" for a bare index
    std::string definition;
    std::string foreign_keys; // statements that drop those which rest on it
    std::vector<std::string> columns;
    bool has_expressions = false;
};

std::vector<SourceKey>
ListKeys(source::Connection &source, uint32_t table) {
    std::vector<SourceKey> keys;
    for (const pg::SqlRow &row : source.Query(KeysQuery(table)).rows) {
        const std::string name = pg::Text(row, 0);
        if (keys.empty() || keys.back().name != name) {
            SourceKey &key = keys.emplace_back();
            key.name = name;
            key.kind = pg::Text(row, 1);
            key.definition = pg::Text(row, 3);
            key.foreign_keys = pg::Text(row, 4);
        }
        if (row[2]) {
            keys.back().columns.push_back(*row[2]);
        } else {
            keys.back().has_expressions = true;
        }
    }
    return keys;
}

bool
TargetHas(const std::string &schema, const std::string &table, const std::string &name) {
    return !pg::Query("SELECT FROM pg_catalog.pg_class t "
                      "JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace "
                      "JOIN pg_catalog.pg_index i ON i.indrelid = t.oid "
                      "JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid "
                      "WHERE n.nspname = $1::name AND t.relname = $2::name "
                      "AND c.relname = $3::name",
                      {schema, table, name})
                .rows.empty();
}

std::string
NameList(const std::vector<std::string> &names) {
    std::string list;
    for (const std::string &name : names) {
        list += (list.empty() ? "" : ", ") + QuoteIdentifier(name);
    }
    return list;
}

// The same key with the missing columns behind its own.
std::string
ExtendedKey(const SourceKey &key, const std::string &table,
            const std::vector<std::string> &missing) {
    if (key.has_expressions || key.kind == "x") {
        return "-- create it on the target under its name, with " + NameList(missing) +
               " added: " + key.definition;
    }
    std::vector<std::string> columns = key.columns;
    columns.insert(columns.end(), missing.begin(), missing.end());
    const std::string name = QuoteIdentifier(key.name);
    if (key.kind.empty()) {
        return "CREATE UNIQUE INDEX " + name + " ON " + table + " (" + NameList(columns) + ");";
    }
    return "ALTER TABLE " + table + " ADD CONSTRAINT " + name +
           (key.kind == "p" ? " PRIMARY KEY (" : " UNIQUE (") + NameList(columns) + ");";
}

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

std::vector<KeyProblem>
FindKeyProblems(source::Connection &source, uint32_t source_oid, const std::string &schema,
                const std::string &table, const std::vector<std::string> &placement) {
    const std::string name = QualifiedName(schema, table);
    std::vector<KeyProblem> problems;
    for (const SourceKey &key : ListKeys(source, source_oid)) {
        std::vector<std::string> missing;
        for (const std::string &column : placement) {
            if (std::find(key.columns.begin(), key.columns.end(), column) == key.columns.end()) {
                missing.push_back(column);
            }
        }
        if (missing.empty()) {
            continue;
        }
        if (!key.foreign_keys.empty()) {
            problems.push_back(
                {"unique key " + QuoteIdentifier(key.name) + " of " + name + " lacks " +
                     NameList(missing) +
                     ", so it cannot be on a hypertable, and foreign keys rest on it",
                 "-- on the source, then start anew: " + key.foreign_keys});
        } else if (!TargetHas(schema, table, key.name)) {
            problems.push_back({"unique key " + QuoteIdentifier(key.name) + " of " + name +
                                    " lacks " + NameList(missing) +
                                    ", by which its hypertable places rows",
                                ExtendedKey(key, name, missing)});
        }
    }
    return problems;
}

} // namespace livemigrate::stage
