#include "pg/prelude.hpp"

#include "stage/source_lock.hpp"

#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

#include <algorithm>

namespace livemigrate::stage {

namespace {

constexpr size_t kTablesPerStatement = 500;

std::string
FirstName(const pg::SqlResult &found) {
    return QualifiedName(pg::Text(found.rows[0], 0), pg::Text(found.rows[0], 1));
}

void
CheckIdentity(source::Connection &session, const std::string &wanted) {
    const pg::SqlResult others = session.Query(
        "SELECT w.nspname, w.relname FROM (VALUES " + wanted +
        ") AS w (oid, nspname, relname) WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN "
        "pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = w.oid::pg_catalog.oid "
        "AND n.nspname = w.nspname AND c.relname = w.relname)");
    if (!others.rows.empty()) {
        throw Error(sqlstate::kUndefinedTable, "table " + FirstName(others) +
                                                   " was dropped, renamed or made anew on the "
                                                   "source since the migration began")
            .Detail("The changes of a table of that name belong to another one than the slot was "
                    "made for.")
            .Hint("If it was renamed, give it its name again, then run: SELECT "
                  "livemigrate.migration_resume(); else start over: SELECT "
                  "livemigrate.migration_abort();");
    }
}

[[noreturn]] void
ThrowReplaced(const std::string &what) {
    throw Error(sqlstate::kObjectInUse,
                what + " on the source is not what the snapshot sees under that name")
        .Detail("It, or its schema, was dropped, renamed or made anew since. A new snapshot is "
                "taken.");
}

// Names are looked up in the catalog of today, not in the snapshot's: by LOCK and by COPY, and so
// here.
void
CheckNames(source::Connection &session, const std::string &wanted) {
    const pg::SqlResult others = session.Query(
        "SELECT w.nspname, w.relname FROM (VALUES " + wanted +
        ") AS w (oid, nspname, relname) WHERE pg_catalog.to_regclass(pg_catalog.quote_ident("
        "w.nspname) || '.' || pg_catalog.quote_ident(w.relname))::pg_catalog.oid "
        "IS DISTINCT FROM w.oid::pg_catalog.oid");
    if (!others.rows.empty()) {
        ThrowReplaced("table " + FirstName(others));
    }
}

void
Lock(source::Connection &session, const std::string &names, const source::WaitObserver &waiting) {
    try {
        session.Query("LOCK TABLE " + names + " IN ACCESS SHARE MODE", waiting);
    } catch (const Error &error) {
        if (error.sqlstate() != sqlstate::kUndefinedTable &&
            error.sqlstate() != sqlstate::kUndefinedSchema &&
            error.sqlstate() != sqlstate::kWrongObjectType) {
            throw;
        }
        ThrowReplaced("a table (" + error.message() + ")");
    }
}

void
CheckFiles(source::Connection &session, const std::string &oids) {
    const pg::SqlResult rewritten = session.Query(
        "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n "
        "ON n.oid = c.relnamespace WHERE c.oid IN (" +
        oids + ") AND c.relfilenode IS DISTINCT FROM pg_catalog.pg_relation_filenode(c.oid)");
    if (!rewritten.rows.empty()) {
        throw Error(sqlstate::kObjectInUse,
                    "table " + FirstName(rewritten) +
                        " was rewritten on the source while the snapshot was being taken")
            .Detail("ALTER TABLE, TRUNCATE, CLUSTER or VACUUM FULL does that. A new snapshot is "
                    "taken.");
    }
}

// Calls for some hundreds of tables at a time: their names as LOCK takes them, their OIDs, and a
// VALUES list of OID, schema and name.
template <typename F>
void
ForEachBatch(const std::vector<SourceTableName> &tables, const F &f) {
    for (size_t start = 0; start < tables.size(); start += kTablesPerStatement) {
        std::string names;
        std::string oids;
        std::string wanted;
        for (size_t i = start; i < std::min(tables.size(), start + kTablesPerStatement); i++) {
            const SourceTableName &table = tables[i];
            const char *comma = names.empty() ? "" : ", ";
            names += comma + std::string("ONLY ") + QualifiedName(table.schema, table.name);
            oids += comma + std::to_string(table.oid);
            wanted += std::string(comma) + "(" + std::to_string(table.oid) + ", " +
                      QuoteLiteral(table.schema) + ", " + QuoteLiteral(table.name) + ")";
        }
        f(names, oids, wanted);
    }
}

} // namespace

void
LockSourceTables(source::Connection &session, const std::vector<SourceTableName> &tables,
                 const source::WaitObserver &waiting) {
    ForEachBatch(tables,
                 [&](const std::string &names, const std::string &oids, const std::string &wanted) {
                     CheckIdentity(session, wanted);
                     Lock(session, names, waiting);
                     CheckNames(session, wanted);
                     CheckFiles(session, oids);
                 });
}

void
CheckSourceNames(source::Connection &session, const std::vector<SourceTableName> &tables) {
    ForEachBatch(tables, [&](const std::string &, const std::string &, const std::string &wanted) {
        CheckNames(session, wanted);
    });
}

} // namespace livemigrate::stage
