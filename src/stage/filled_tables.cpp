#include "pg/prelude.hpp"

#include "stage/filled_tables.hpp"

#include "core/blocker_text.hpp"
#include "core/call_hint.hpp"
#include "core/error.hpp"
#include "core/sql_text.hpp"
#include "pg/extension_config.hpp"
#include "pg/sql_row.hpp"
#include "pg/subtransaction.hpp"
#include "pg/table_manager.hpp"

#include <filesystem>
#include <map>
#include <set>
#include <string_view>

namespace livemigrate::stage {

namespace {

// The tables with whatever inherits from them, as partitions and chunks do, and their files. From
// the catalog alone: a lock that somebody has on an empty table is not waited for.
constexpr char kListFiles[] = R"sql(
WITH RECURSIVE wanted AS (
    SELECT DISTINCT n.nspname, c.relname, c.oid
    FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]))
        AS name(nspname, relname)
    JOIN pg_catalog.pg_namespace n ON n.nspname = name.nspname::name
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = name.relname::name),
below AS (
    SELECT oid AS top, oid AS relid FROM wanted
    UNION ALL
    SELECT b.top, i.inhrelid FROM below b JOIN pg_catalog.pg_inherits i ON i.inhparent = b.relid)
SELECT w.nspname, w.relname, w.oid, b.relid <> w.oid, pg_catalog.pg_relation_filepath(b.relid)
FROM wanted w JOIN below b ON b.top = w.oid
ORDER BY 1, 2
)sql";

// Those that are an extension's configuration.
std::set<Oid>
ExtensionTables() {
    std::set<Oid> tables;
    for (const pg::SqlRow &row :
         pg::Query("SELECT pg_catalog.unnest(extconfig) FROM pg_catalog.pg_extension").rows) {
        tables.insert(pg::Number<Oid>(row, 0));
    }
    return tables;
}

struct MaybeFilled {
    std::string schema;
    std::string name;
    Oid relid = InvalidOid;
    bool has_pages = false;
    bool has_children = false;
};

std::vector<MaybeFilled>
ListTables(const std::vector<std::pair<std::string, std::string>> &names) {
    std::vector<std::string> schemas;
    std::vector<std::string> tables;
    for (const auto &[schema, name] : names) {
        schemas.push_back(schema);
        tables.push_back(name);
    }
    std::vector<MaybeFilled> found;
    const pg::SqlResult files =
        pg::Query(kListFiles, {TextArrayLiteral(schemas), TextArrayLiteral(tables)});
    for (const pg::SqlRow &row : files.rows) {
        const auto relid = pg::Number<Oid>(row, 2);
        if (found.empty() || found.back().relid != relid) {
            found.push_back({pg::Text(row, 0), pg::Text(row, 1), relid});
        }
        std::error_code none; // no file: nothing was ever written, or it is gone
        const auto size = row[4] ? std::filesystem::file_size(*row[4], none) : 0;
        found.back().has_pages = found.back().has_pages || (!none && size > 0);
        found.back().has_children = found.back().has_children || pg::Flag(row, 3);
    }
    return found;
}

// Judged without reading it: what is compressed has no pages in its chunk, and the rows of a
// distributed table lie on other nodes.
bool
MayHaveRows(const MaybeFilled &table) {
    if (table.has_pages) {
        return true;
    }
    const pg::TableManager manager = pg::ManagerOf(table.relid);
    return manager == pg::TableManager::kCitus ||
           (manager == pg::TableManager::kTimescaledb && table.has_children);
}

// The tables $1, each with itself and the tables that foreign keys lead from to it, over others,
// too: its OID, the other's schema and name, whether that may be emptied, whether it is not of $1.
// $2: tables that may be emptied, and so may partitioned ones of nothing else. A table comes before
// those that it references.
constexpr char kReferencing[] = R"sql(
WITH RECURSIVE reached(root, oid) AS (
    SELECT o, o FROM pg_catalog.unnest($1::pg_catalog.oid[]) AS o
    UNION
    SELECT r.root, f.conrelid FROM reached r
    JOIN pg_catalog.pg_constraint f
      ON f.contype = 'f' AND f.confrelid = r.oid AND f.conrelid <> f.confrelid)
SELECT r.root, n.nspname, c.relname,
       r.oid = ANY ($2::pg_catalog.oid[])
         OR c.relkind = 'p' AND NOT EXISTS (
              SELECT FROM pg_catalog.pg_partition_tree(r.oid) t
              WHERE t.isleaf AND t.relid <> ALL ($2::pg_catalog.oid[])),
       r.oid <> ALL ($1::pg_catalog.oid[])
FROM reached r
JOIN pg_catalog.pg_class c ON c.oid = r.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
ORDER BY pg_catalog.count(*) OVER (PARTITION BY r.root), 1, 2, 3
)sql";

std::string
Join(const std::vector<std::string> &names) {
    std::string list;
    for (const std::string &name : names) {
        list += (list.empty() ? "" : ", ") + name;
    }
    return list;
}

struct Referencing {
    std::string oid;
    std::vector<std::string> tables; // that have to be in a TRUNCATE
    std::vector<std::string> keep;   // those that are not this migration's to empty
    bool may_go = true;
};

std::string
OidList(const std::vector<TargetTable> &tables) {
    std::string list;
    for (const TargetTable &table : tables) {
        list += (list.empty() ? "" : ",") + table.oid;
    }
    return "{" + list + "}";
}

std::vector<Referencing>
ListReferencing(std::vector<TargetTable> all, const std::vector<TargetTable> &filled) {
    std::erase_if(all, [](const TargetTable &table) { return !table.condition.empty(); });
    std::vector<Referencing> list;
    for (const pg::SqlRow &row : pg::Query(kReferencing, {OidList(filled), OidList(all)}).rows) {
        if (list.empty() || list.back().oid != pg::Text(row, 0)) {
            list.emplace_back().oid = pg::Text(row, 0);
        }
        const std::string name = QualifiedName(pg::Text(row, 1), pg::Text(row, 2));
        list.back().tables.push_back(name);
        list.back().may_go &= pg::Flag(row, 3);
        if (!pg::Flag(row, 3) && pg::Flag(row, 4)) {
            list.back().keep.push_back(name);
        }
    }
    return list;
}

// Whoever keeps readers out of a table, or of what inherits from it; or waits to, which keeps them
// out as well. A prepared transaction has no process.
constexpr char kHolder[] = R"sql(
WITH RECURSIVE below AS (
    SELECT $1::pg_catalog.oid AS relid
    UNION ALL
    SELECT i.inhrelid FROM below b JOIN pg_catalog.pg_inherits i ON i.inhparent = b.relid)
SELECT l.pid, COALESCE(h.usename::pg_catalog.text, h.backend_type, ''),
       pg_catalog.date_trunc('second', pg_catalog.clock_timestamp() - h.xact_start)::pg_catalog.text,
       p.gid
FROM below b
JOIN pg_catalog.pg_locks l ON l.relation = b.relid AND l.mode = 'AccessExclusiveLock'
JOIN pg_catalog.pg_database d ON d.oid = l.database AND d.datname = pg_catalog.current_database()
LEFT JOIN pg_catalog.pg_stat_activity h ON h.pid = l.pid
LEFT JOIN pg_catalog.pg_locks x
  ON l.pid IS NULL AND x.pid IS NULL AND x.locktype = 'transactionid'
 AND x.virtualtransaction = l.virtualtransaction
LEFT JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = x.transactionid
ORDER BY l.granted DESC, h.xact_start LIMIT 1
)sql";

// What the server says of a lock that was waited for too long names neither.
Error
LockedTable(const MaybeFilled &table) {
    std::string detail = "Whether it has rows cannot be seen.";
    std::string hint = "SELECT * FROM pg_catalog.pg_locks WHERE relation = " +
                       QuoteLiteral(QualifiedName(table.schema, table.name)) + "::regclass;";
    const pg::SqlResult found = pg::Query(kHolder, {std::to_string(table.relid)});
    if (!found.rows.empty() && found.rows[0][0]) {
        const pg::SqlRow &row = found.rows[0];
        std::string who = DescribeProcess(pg::Text(row, 0), pg::Text(row, 1), row[2]);
        who.front() = 'P'; // begins a sentence
        detail = who + " has locked it. " + detail;
        hint = "SELECT pg_terminate_backend(" + pg::Text(row, 0) +
               "); -- unless that session ends by itself";
    } else if (!found.rows.empty() && found.rows[0][3]) {
        const PreparedTransaction one{*found.rows[0][3], {}, {}, {}};
        detail = "Prepared transaction " + QuoteLiteral(one.gid) + " has locked it. " + detail;
        hint = CommitPrepared(one) + "\n" + Comment("or: " + RollbackPrepared(one));
    }
    return Error(sqlstate::kLockNotAvailable,
                 "table " + QualifiedName(table.schema, table.name) + " of the target is locked")
        .Detail(detail)
        .Hint(hint);
}

bool
HasRows(const MaybeFilled &maybe, const TargetTable &table) {
    try {
        pg::Subtransaction part;
        const bool found = pg::Query("SELECT EXISTS (SELECT 1 FROM " +
                                     std::string(pg::IsOneHeap(maybe.relid) ? "ONLY " : "") +
                                     table.name + table.condition + " LIMIT 1)")
                               .Scalar() == "t";
        part.Commit();
        return found;
    } catch (const Error &error) {
        if (error.sqlstate() != sqlstate::kLockNotAvailable) {
            throw;
        }
    }
    throw LockedTable(maybe);
}

} // namespace

// Conditions are the target's, not the source's: what comes from there is not run here.
FilledTables
FindFilledTables(const std::vector<std::pair<std::string, std::string>> &tables, size_t most) {
    const std::set<Oid> config = ExtensionTables();
    FilledTables found;
    for (const MaybeFilled &maybe : ListTables(tables)) {
        const std::string condition =
            config.contains(maybe.relid) ? pg::UserRowsCondition(maybe.relid).value_or("") : "";
        const TargetTable table = {std::to_string(maybe.relid),
                                   QualifiedName(maybe.schema, maybe.name),
                                   condition.empty() ? "" : " WHERE " + condition};
        found.all.push_back(table);
        if (found.more || !MayHaveRows(maybe) || !HasRows(maybe, table)) {
            continue;
        }
        if (found.filled.size() < most) {
            found.filled.push_back(table);
        } else {
            found.more = true;
        }
    }
    return found;
}

// By DELETE where some rows are an extension's own, and where a table that stays as it is
// references the table, which lets no TRUNCATE through.
std::string
EmptyingSql(const FilledTables &tables) {
    std::map<std::string, const TargetTable *> by_oid;
    for (const TargetTable &table : tables.filled) {
        by_oid.emplace(table.oid, &table);
    }
    std::set<std::string> truncated;
    std::string deletes;
    for (const Referencing &referencing : ListReferencing(tables.all, tables.filled)) {
        if (referencing.may_go) {
            truncated.insert(referencing.tables.begin(), referencing.tables.end());
            continue;
        }
        const TargetTable &table = *by_oid.at(referencing.oid);
        if (!referencing.keep.empty()) {
            const std::string others = Join(referencing.keep);
            deletes += "\n" + Comment(others + " may refer to these, and is not migrated");
        }
        deletes += "\nDELETE FROM " + table.name + table.condition + ";";
    }
    if (truncated.empty()) {
        return deletes.substr(1);
    }
    return "TRUNCATE " + Join({truncated.begin(), truncated.end()}) + ";" + deletes;
}

} // namespace livemigrate::stage
