#include "pg/prelude.hpp"

#include "stage/key_problems.hpp"

#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

#include <algorithm>
#include <map>
#include <utility>

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
           "AND NOT c.relispartition "
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

// One row for each pair of columns of each foreign key, with the tables' OIDs.
constexpr char kForeignKeysQuery[] =
    "SELECT f.conrelid, f.confrelid, f.conname, a.attname, b.attname "
    "FROM pg_catalog.pg_constraint f "
    "CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(f.conkey), pg_catalog.unnest(f.confkey)) "
    "AS u(one, other) "
    "JOIN pg_catalog.pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = u.one "
    "JOIN pg_catalog.pg_attribute b ON b.attrelid = f.confrelid AND b.attnum = u.other "
    "JOIN pg_catalog.pg_class c ON c.oid = f.conrelid "
    "WHERE f.contype = 'f' AND NOT c.relispartition ORDER BY f.oid";

struct ForeignKey {
    uint32_t from = 0;
    uint32_t to = 0;
    std::string name;
    std::vector<std::pair<std::string, std::string>> columns;
};

std::vector<ForeignKey>
ListForeignKeys(source::Connection &source) {
    std::vector<ForeignKey> keys;
    for (const pg::SqlRow &row : source.Query(kForeignKeysQuery).rows) {
        const auto from = pg::Number<uint32_t>(row, 0);
        if (keys.empty() || keys.back().from != from || keys.back().name != pg::Text(row, 2)) {
            keys.push_back({from, pg::Number<uint32_t>(row, 1), pg::Text(row, 2), {}});
        }
        keys.back().columns.emplace_back(pg::Text(row, 3), pg::Text(row, 4));
    }
    return keys;
}

// Where Citus keeps a table: its distribution column, empty for a reference table, and the group of
// tables whose shards lie side by side.
struct Distribution {
    bool is_local = true; // not Citus's
    std::string column;
    std::string colocation;
    bool
    is_distributed() const {
        return !column.empty();
    }
};

Distribution
DistributionOf(const PlacedTable &table) {
    const pg::SqlResult found =
        pg::Query("SELECT COALESCE(pg_catalog.column_to_column_name(d.logicalrelid, d.partkey), "
                  "''), d.colocationid FROM pg_catalog.pg_dist_partition d "
                  "JOIN pg_catalog.pg_class c ON c.oid = d.logicalrelid "
                  "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
                  "WHERE n.nspname = $1::name AND c.relname = $2::name "
                  "AND (d.partkey IS NOT NULL OR d.repmodel = 't')",
                  {table.schema, table.table});
    if (found.rows.empty()) {
        return {};
    }
    return {false, pg::Text(found.rows[0], 0), pg::Text(found.rows[0], 1)};
}

// Empty if Citus takes the foreign key; else what puts it right before the copy.
std::string
ForeignKeyFix(const ForeignKey &key, const PlacedTable &from, const PlacedTable &to) {
    const Distribution one = DistributionOf(from);
    const Distribution other = DistributionOf(to);
    const std::string from_name = QualifiedName(from.schema, from.table);
    const std::string to_name = QualifiedName(to.schema, to.table);
    const std::string drop = "-- on the source, then start anew: ALTER TABLE " + from_name +
                             " DROP CONSTRAINT " + QuoteIdentifier(key.name) + ";";
    if (!other.is_distributed()) {
        return one.is_distributed() && other.is_local
                   ? "SELECT create_reference_table(" + QuoteLiteral(to_name) + ");"
                   : "";
    }
    const auto pair =
        std::find_if(key.columns.begin(), key.columns.end(), [&](const auto &columns) {
            return columns.second == other.column &&
                   (!one.is_distributed() || columns.first == one.column);
        });
    if (pair == key.columns.end() || (!one.is_local && !one.is_distributed())) {
        return drop;
    }
    if (one.is_local) {
        return "SELECT create_distributed_table(" + QuoteLiteral(from_name) + ", " +
               QuoteLiteral(pair->first) + ", colocate_with => " + QuoteLiteral(to_name) + ");";
    }
    return one.colocation == other.colocation
               ? ""
               : "SELECT update_distributed_table_colocation(" + QuoteLiteral(from_name) +
                     ", colocate_with => " + QuoteLiteral(to_name) + ");";
}

} // namespace

std::vector<KeyProblem>
FindKeyProblems(source::Connection &source, uint32_t source_oid, const std::string &schema,
                const std::string &table, const std::vector<std::string> &placement,
                pg::TableManager manager) {
    const bool distributed = manager == pg::TableManager::kCitus;
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
            problems.push_back({"unique key " + QuoteIdentifier(key.name) + " of " + name +
                                    " lacks " + NameList(missing) + ", so it cannot be on a " +
                                    (distributed ? "distributed table" : "hypertable") +
                                    ", and foreign keys rest on it",
                                "-- on the source, then start anew: " + key.foreign_keys});
        } else if (!TargetHas(schema, table, key.name)) {
            problems.push_back({"unique key " + QuoteIdentifier(key.name) + " of " + name +
                                    " lacks " + NameList(missing) + ", by which " +
                                    (distributed ? "Citus" : "its hypertable") + " places rows",
                                ExtendedKey(key, name, missing)});
        }
    }
    return problems;
}

std::vector<KeyProblem>
FindForeignKeyProblems(source::Connection &source, const std::vector<PlacedTable> &tables) {
    std::map<uint32_t, const PlacedTable *> by_oid;
    for (const PlacedTable &table : tables) {
        by_oid[table.source_oid] = &table;
    }
    std::vector<KeyProblem> problems;
    for (const ForeignKey &key : ListForeignKeys(source)) {
        const auto from = by_oid.find(key.from);
        const auto to = by_oid.find(key.to);
        if (from == by_oid.end() || to == by_oid.end()) {
            continue;
        }
        if (const std::string fix = ForeignKeyFix(key, *from->second, *to->second); !fix.empty()) {
            problems.push_back({"foreign key " + QuoteIdentifier(key.name) + " of " +
                                    QualifiedName(from->second->schema, from->second->table) +
                                    " to " + QualifiedName(to->second->schema, to->second->table) +
                                    " leads to rows that Citus keeps elsewhere",
                                fix});
        }
    }
    return problems;
}

} // namespace livemigrate::stage
