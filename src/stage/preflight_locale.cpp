// Checks of how text is ordered on both sides. Indexes are built anew on the target, so its own
// order is right for them; what was divided or checked by the source's order may not fit.
#include "pg/prelude.hpp"

#include "stage/preflight_run.hpp"

#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

namespace livemigrate::stage {

namespace {

// From this version on a database can have a locale that is built in.
constexpr int kFirstBuiltIn = 170000;

struct Locale {
    std::string provider; // c: libc, i: ICU, b: built in
    std::string collate;
    std::string ctype;
    std::string version; // of the library's collations; empty where nobody knows, or there is none
};

// Before 15 a database has a locale of libc, whose version is that of any of its collations: of "C"
// there is none, and before 13 of no other. The name of the one that is the database's is mostly
// spelled otherwise.
std::string
LocaleQuery(int version_num) {
    constexpr int kFirstWithProvider = 150000;
    if (version_num < kFirstWithProvider) {
        return "SELECT 'c', d.datcollate, d.datctype, "
               "CASE WHEN d.datcollate !~ '^(C|POSIX)($|\\.)' THEN (SELECT pg_catalog.min("
               "pg_catalog.pg_collation_actual_version(c.oid)) FROM pg_catalog.pg_collation c "
               "WHERE c.collprovider = 'c') END "
               "FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";
    }
    const std::string locale = version_num < kFirstBuiltIn ? "d.daticulocale" : "d.datlocale";
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

// Of a collation of one name. The target knows the version of every one that is not "C", so that
// nobody knows of the source's where that has none.
bool
MayDiffer(const std::string &source_version, const std::string &target_version) {
    return !target_version.empty() && source_version != target_version;
}

// All locales that are built in order text by its characters' numbers, as "C" does.
bool
OrdersByNumber(const Locale &locale) {
    return locale.provider == "b" ||
           (locale.provider == "c" && (locale.collate == "C" || locale.collate == "POSIX"));
}

// The rest of CREATE DATABASE for the source's locale.
std::string
LocaleOptions(const Locale &source) {
    const std::string names = " LC_COLLATE " +
                              QuoteLiteral(source.provider == "c" ? source.collate : "C") +
                              " LC_CTYPE " + QuoteLiteral(source.ctype);
    if (source.provider == "i") {
        return names + " LOCALE_PROVIDER icu ICU_LOCALE " + QuoteLiteral(source.collate);
    }
    return source.provider == "b" && pg::HasBuiltInLocales()
               ? names + " LOCALE_PROVIDER builtin BUILTIN_LOCALE " + QuoteLiteral(source.collate)
               : names;
}

std::string
LocaleFix(const Locale &source) {
    const bool has_it = source.provider != "b" || pg::HasBuiltInLocales();
    return std::string(has_it ? "-- for the same"
                              : "-- the target has no built-in locales, which came with 17; for "
                                "the same order") +
           ", create the target's database anew: CREATE DATABASE ... TEMPLATE template0" +
           LocaleOptions(source) + ";";
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
CheckOrderedObjects(PreflightRun &run, bool order_may_differ) {
    for (const pg::SqlRow &row : run.source.Query(kOrderedObjects).rows) {
        const std::string schema = pg::Text(row, 0);
        const std::string name = pg::Text(row, 1);
        const std::string constraint = pg::Text(row, 2);
        const std::string collation = pg::Text(row, 3);
        const bool may_differ = collation == "default"
                                    ? order_may_differ
                                    : MayDiffer(pg::Text(row, 4), TargetVersion(collation));
        if (!may_differ || !run.filter.Selects(schema, name)) {
            continue;
        }
        const std::string what = constraint.empty()
                                     ? "is partitioned by ranges of text"
                                     : "has the constraint " + QuoteIdentifier(constraint) +
                                           ", which compares text by its order";
        run.Warning("collation_order", QualifiedName(schema, name),
                    what + ", and the target may order text otherwise: a row that does not fit "
                           "there stops the migration",
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
                   LocaleFix(source));
    } else if (MayDiffer(source.version, target.version)) {
        run.Notice("locale", database,
                   (source.version.empty()
                        ? "the source does not tell the version of its collations, which is "
                        : "collations are of version " + source.version + " on the source and ") +
                       target.version + " on the target: text may sort differently",
                   "-- nothing to do for indexes, which are built anew; where the application "
                   "relies on the order, use the source's release of the operating system");
    } else {
        run.Ok("locale", database, "both databases have " + Describe(source));
    }
    const bool both_by_number = OrdersByNumber(source) && OrdersByNumber(target);
    CheckOrderedObjects(run, !both_by_number &&
                                 (!same_collation || MayDiffer(source.version, target.version)));
}

} // namespace livemigrate::stage
