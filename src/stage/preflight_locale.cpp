// Checks of how text is ordered on both sides. Indexes are built anew on the target, so its own
// order is right for them; what was divided or checked by the source's order may not fit.
#include "pg/prelude.hpp"

#include "stage/preflight_run.hpp"

#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

namespace livemigrate::stage {

namespace {

struct Locale {
    std::string provider; // c: libc, i: ICU, b: built in
    std::string collate;
    std::string ctype;
    std::string version; // of the library's collations; empty where nobody knows, or there is none
};

// Before 15 a database has a locale of libc, whose version stands with the collation of its name.
std::string
LocaleQuery(int version_num) {
    constexpr int kFirstWithProvider = 150000;
    constexpr int kFirstWithLocale = 170000;
    if (version_num < kFirstWithProvider) {
        return "SELECT 'c', d.datcollate, d.datctype, (SELECT "
               "pg_catalog.pg_collation_actual_version(c.oid) FROM pg_catalog.pg_collation c "
               "WHERE c.collprovider = 'c' AND c.collcollate = d.datcollate "
               "AND c.collencoding IN (-1, d.encoding) ORDER BY c.oid LIMIT 1) "
               "FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";
    }
    const std::string locale = version_num < kFirstWithLocale ? "d.daticulocale" : "d.datlocale";
    return "SELECT d.datlocprovider, COALESCE(" + locale +
           ", d.datcollate), d.datctype, "
           "pg_catalog.pg_database_collation_actual_version(d.oid) "
           "FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";
}

Locale
ReadLocale(const pg::SqlResult &result) {
    const pg::SqlRow &row = result.rows.at(0);
    return {pg::Text(row, 0), pg::Text(row, 1), pg::Text(row, 2), pg::Text(row, 3)};
}

std::string
Describe(const Locale &locale) {
    const std::string names = "LC_COLLATE " + QuoteLiteral(locale.collate) + " and LC_CTYPE " +
                              QuoteLiteral(locale.ctype);
    if (locale.provider == "i") {
        return "ICU's " + QuoteLiteral(locale.collate) + " and LC_CTYPE " +
               QuoteLiteral(locale.ctype);
    }
    return locale.provider == "b" ? "the built-in " + QuoteLiteral(locale.collate) : names;
}

bool
VersionsDiffer(const std::string &left, const std::string &right) {
    return !left.empty() && !right.empty() && left != right;
}

// Range partitions by text, and checks that compare it (text_lt and its like, bpchar's too): name,
// what it is, and the collation: its name and version, or nothing for the database's own.
constexpr char kOrderedObjects[] = R"sql(
SELECT n.nspname, c.relname, '', o.collname, pg_catalog.pg_collation_actual_version(o.oid)
FROM pg_catalog.pg_partitioned_table p
JOIN pg_catalog.pg_class c ON c.oid = p.partrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL pg_catalog.unnest(p.partcollation::pg_catalog.oid[]) AS k(collation_oid)
JOIN pg_catalog.pg_collation o ON o.oid = k.collation_oid
WHERE p.partstrat = 'r' AND o.collname NOT IN ('C', 'POSIX', 'ucs_basic')
UNION ALL
SELECT n.nspname, c.relname, k.conname, 'default', NULL
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'c'
  AND k.conbin::pg_catalog.text ~ ':opno (664|665|666|667|1058|1059|1060|1061) .*:inputcollid 100 '
ORDER BY 1, 2, 3
)sql";

// The target's version of a collation of the system's; empty where it has none.
std::string
TargetVersion(const std::string &collation) {
    const pg::SqlResult found =
        pg::Query("SELECT pg_catalog.pg_collation_actual_version(oid) FROM pg_catalog.pg_collation "
                  "WHERE collname = $1::name ORDER BY collnamespace LIMIT 1",
                  {collation});
    return found.rows.empty() ? "" : pg::Text(found.rows[0], 0);
}

void
CheckOrderedObjects(PreflightRun &run, bool order_differs) {
    for (const pg::SqlRow &row : run.source.Query(kOrderedObjects).rows) {
        const std::string schema = pg::Text(row, 0);
        const std::string name = pg::Text(row, 1);
        const std::string constraint = pg::Text(row, 2);
        const std::string collation = pg::Text(row, 3);
        const bool differs = collation == "default"
                                 ? order_differs
                                 : VersionsDiffer(pg::Text(row, 4), TargetVersion(collation));
        if (!differs || !run.filter.Selects(schema, name)) {
            continue;
        }
        const std::string what = constraint.empty()
                                     ? "is partitioned by ranges of text"
                                     : "has the constraint " + QuoteIdentifier(constraint) +
                                           ", which compares text by its order";
        run.Warning("collation_order", QualifiedName(schema, name),
                    what + ", and the target orders text otherwise: a row that does not fit there "
                           "stops the migration",
                    "-- create the target's database with the locale of the source's, on the same "
                    "release of the operating system, or declare what is ordered COLLATE \"C\" on "
                    "the source");
    }
}

} // namespace

void
CheckLocale(PreflightRun &run) {
    const std::string database = QuoteIdentifier(run.info().database);
    const Locale source = ReadLocale(run.source.Query(LocaleQuery(run.info().version_num)));
    const Locale target = ReadLocale(pg::Query(LocaleQuery(pg::kBuiltForVersion)));
    const bool same_collation =
        source.provider == target.provider && source.collate == target.collate;
    if (!same_collation || source.ctype != target.ctype) {
        run.Notice("locale", database,
                   "the source database has " + Describe(source) + ", the target " +
                       Describe(target) + ": text may sort and compare differently",
                   "-- for the same, create the target's database anew: CREATE DATABASE ... "
                   "TEMPLATE template0 LC_COLLATE " +
                       QuoteLiteral(source.provider == "c" ? source.collate : "C") + " LC_CTYPE " +
                       QuoteLiteral(source.ctype) +
                       (source.provider == "i"
                            ? " LOCALE_PROVIDER icu ICU_LOCALE " + QuoteLiteral(source.collate)
                            : "") +
                       ";");
    } else if (VersionsDiffer(source.version, target.version)) {
        run.Notice("locale", database,
                   "collations are of version " + source.version + " on the source and " +
                       target.version + " on the target: text may sort differently",
                   "-- nothing to do for indexes, which are built anew; where the application "
                   "relies on the order, use the source's release of the operating system");
    } else {
        run.Ok("locale", database, "both databases have " + Describe(source));
    }
    CheckOrderedObjects(run, !same_collation || VersionsDiffer(source.version, target.version));
}

} // namespace livemigrate::stage
