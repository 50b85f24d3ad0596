#include "pg/prelude.hpp"

#include "stage/key_problems.hpp"

#include "core/call_hint.hpp"
#include "core/key_definition.hpp"
#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

#include <algorithm>
#include <optional>

namespace livemigrate::stage {

namespace {

// Unique indexes and exclusion constraints, as far as pg_dump has them: name, constraint's type or
// '', definition, and one row for each key column, an expression's being NULL. And the foreign keys
// that rest on them. Columns that are included came with 11.
std::string
KeysQuery(uint32_t table) {
    return "SELECT c.relname, COALESCE(k.contype::text, ''), a.attname, "
           "COALESCE(pg_catalog.pg_get_constraintdef(k.oid), "
           "pg_catalog.pg_get_indexdef(i.indexrelid)), "
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
           " AND (i.indisunique OR i.indisexclusion) AND u.n <= "
           "COALESCE((pg_catalog.to_jsonb(i)->>'indnkeyatts')::pg_catalog.int4, i.indnatts) "
           "AND NOT c.relispartition AND (i.indisvalid OR c.relkind = 'I') "
           "ORDER BY c.relname, u.n";
}

struct SourceKey {
    std::string name;
    std::string kind; // p, u, x; "" for a bare index
    std::string definition;
    std::string foreign_keys;         // statements that drop those which rest on it
    std::vector<std::string> columns; // without expressions
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
        }
    }
    return keys;
}

std::string
NameList(const std::vector<std::string> &names) {
    std::string list;
    for (const std::string &name : names) {
        list += (list.empty() ? "" : ", ") + QuoteIdentifier(name);
    }
    return list;
}

// The same key with the missing columns behind its own, and all else that it has.
std::string
ExtendedKey(const SourceKey &key, const std::string &table,
            const std::vector<std::string> &missing) {
    const std::optional<std::string> extended = KeyWithColumns(key.definition, missing);
    if (!extended) {
        return Comment("create it on the target under its name, with " + NameList(missing) +
                       " added: " + key.definition);
    }
    const std::string name = QuoteIdentifier(key.name);
    if (key.kind.empty()) {
        return "CREATE UNIQUE INDEX " + name + " ON " + table + " " + *extended + ";";
    }
    return "ALTER TABLE " + table + " ADD CONSTRAINT " + name + " " + *extended + ";";
}

} // namespace

bool
TargetHasKey(const std::string &schema, const std::string &table, const std::string &name) {
    return !pg::Query("SELECT FROM pg_catalog.pg_class t "
                      "JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace "
                      "JOIN pg_catalog.pg_index i ON i.indrelid = t.oid "
                      "JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid "
                      "WHERE n.nspname = $1::name AND t.relname = $2::name "
                      "AND c.relname = $3::name",
                      {schema, table, name})
                .rows.empty();
}

std::vector<TableProblem>
FindKeyProblems(source::Connection &source, uint32_t source_oid, const std::string &schema,
                const std::string &table, const std::vector<std::string> &placement,
                pg::TableManager manager) {
    const bool distributed = manager == pg::TableManager::kCitus;
    const std::string name = QualifiedName(schema, table);
    std::vector<TableProblem> problems;
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
            problems.push_back({name,
                                "unique key " + QuoteIdentifier(key.name) + " of " + name +
                                    " lacks " + NameList(missing) + ", so it cannot be on a " +
                                    (distributed ? "distributed table" : "hypertable") +
                                    ", and foreign keys rest on it",
                                key.foreign_keys, true});
        } else if (!TargetHasKey(schema, table, key.name)) {
            problems.push_back({name,
                                "unique key " + QuoteIdentifier(key.name) + " of " + name +
                                    " lacks " + NameList(missing) + ", by which " +
                                    (distributed ? "Citus" : "its hypertable") + " places rows",
                                ExtendedKey(key, name, missing)});
        }
    }
    return problems;
}

} // namespace livemigrate::stage
