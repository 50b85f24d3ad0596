// Foreign keys and deferrable keys: session_replication_role = replica switches off the triggers
// that enforce them, so what is applied is as good as what the source sent.

#include "pg/prelude.hpp"

#include "stage/cutover_check_run.hpp"

#include "core/operator_text.hpp"
#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

namespace livemigrate::stage {

namespace {

// More are "1000 or more": who has so many looks at the table anyway.
constexpr int kMostViolations = 1000;

// Validated foreign keys of the migration's tables, small tables first: name, table, table with
// ONLY as the constraint means it, the same of the referenced table, when a row refers to anything
// (columns of c), and when p is that row.
constexpr char kForeignKeysQuery[] = R"(
SELECT k.conname, c.name, c.only_name, p.only_name, e.refers, e.matches
FROM pg_catalog.pg_constraint k
JOIN LATERAL (
  SELECT pg_catalog.format('%I.%I', n.nspname, r.relname) AS name,
         CASE WHEN r.relkind = 'p' THEN '' ELSE 'ONLY ' END
           || pg_catalog.format('%I.%I', n.nspname, r.relname) AS only_name
  FROM pg_catalog.pg_class r JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
  WHERE r.oid = k.conrelid
    AND EXISTS (SELECT FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]),
                                       pg_catalog.unnest($2::pg_catalog.text[])) AS w(s, t)
                WHERE w.s = n.nspname AND w.t = r.relname)) c ON true
JOIN LATERAL (
  SELECT CASE WHEN r.relkind = 'p' THEN '' ELSE 'ONLY ' END
           || pg_catalog.format('%I.%I', n.nspname, r.relname) AS only_name
  FROM pg_catalog.pg_class r JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
  WHERE r.oid = k.confrelid) p ON true
CROSS JOIN LATERAL (
  SELECT pg_catalog.string_agg(pg_catalog.format('c.%I IS NOT NULL', a.attname),
                               CASE k.confmatchtype WHEN 'f' THEN ' OR ' ELSE ' AND ' END) AS refers,
         pg_catalog.string_agg(pg_catalog.format('p.%I OPERATOR(%I.%s) c.%I', b.attname, s.nspname,
                                                 o.oprname, a.attname), ' AND ') AS matches
  FROM ROWS FROM (pg_catalog.unnest(k.conkey), pg_catalog.unnest(k.confkey),
                  pg_catalog.unnest(k.conpfeqop)) AS u(ours, theirs, operator)
  JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.ours
  JOIN pg_catalog.pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = u.theirs
  JOIN pg_catalog.pg_operator o ON o.oid = u.operator
  JOIN pg_catalog.pg_namespace s ON s.oid = o.oprnamespace) e
WHERE k.contype = 'f' AND k.convalidated AND k.conparentid = 0
ORDER BY pg_catalog.pg_table_size(k.conrelid), c.name, k.conname
)";

// Deferrable primary keys, unique and exclusion constraints: name, table with ONLY, type, columns
// of alias c as a list, all of them not NULL, when rows c and o collide, the rows it is about.
// Those over expressions have NULLs.
constexpr char kDeferrableKeysQuery[] = R"(
SELECT k.conname, c.name, c.only_name, k.contype, e.columns, e.given, e.collide,
       COALESCE(' WHERE ' || pg_catalog.pg_get_expr(i.indpred, i.indrelid), '')
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_index i ON i.indexrelid = k.conindid
JOIN LATERAL (
  SELECT pg_catalog.format('%I.%I', n.nspname, r.relname) AS name,
         CASE WHEN r.relkind = 'p' THEN '' ELSE 'ONLY ' END
           || pg_catalog.format('%I.%I', n.nspname, r.relname) AS only_name
  FROM pg_catalog.pg_class r JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
  WHERE r.oid = k.conrelid
    AND EXISTS (SELECT FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]),
                                       pg_catalog.unnest($2::pg_catalog.text[])) AS w(s, t)
                WHERE w.s = n.nspname AND w.t = r.relname)) c ON true
LEFT JOIN LATERAL (
  SELECT pg_catalog.string_agg(pg_catalog.format('c.%I', a.attname), ', ' ORDER BY u.n) AS columns,
         pg_catalog.string_agg(pg_catalog.format('c.%I IS NOT NULL', a.attname), ' AND ') AS given,
         pg_catalog.string_agg(pg_catalog.format('c.%I OPERATOR(%I.%s) o.%I', a.attname, s.nspname,
                                                 o.oprname, a.attname), ' AND ') AS collide
  FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY AS u(column_number, n)
  JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.column_number
  JOIN pg_catalog.pg_opclass x ON x.oid = i.indclass[u.n - 1]
  LEFT JOIN pg_catalog.pg_amop m
         ON m.amopfamily = x.opcfamily AND m.amopstrategy = 3 AND k.contype <> 'x'
        AND m.amoplefttype = x.opcintype AND m.amoprighttype = x.opcintype
  JOIN pg_catalog.pg_operator o ON o.oid = COALESCE(k.conexclop[u.n], m.amopopr)
  JOIN pg_catalog.pg_namespace s ON s.oid = o.oprnamespace
  WHERE NOT 0 = ANY (k.conkey)) e ON true
WHERE k.condeferrable AND k.contype IN ('p', 'u', 'x') AND k.conparentid = 0
ORDER BY pg_catalog.pg_table_size(k.conrelid), c.name, k.conname
)";

std::string
HowMany(const std::string &count) {
    return count == std::to_string(kMostViolations) ? count + " or more" : count;
}

// Counts the rows of a subquery with one column, `example`, and shows one of them.
std::string
CountQuery(const std::string &rows) {
    return "SELECT pg_catalog.count(*), pg_catalog.min(v.example) FROM (" + rows + " LIMIT " +
           std::to_string(kMostViolations) + ") v";
}

struct Finding {
    const char *check_id;
    std::string object;
    std::string query; // CountQuery
    std::string what;  // behind the count
    std::string fix;
};

void
Judge(CutoverCheckRun &run, const Finding &finding) {
    const auto result = run.Measure(finding.check_id, finding.object, finding.query);
    if (!result) {
        return;
    }
    const pg::SqlRow &row = result->rows.at(0);
    const std::string count = pg::Text(row, 0);
    if (count == "0") {
        return;
    }
    const std::string what = HowMany(count) + " " + finding.what + ", such as " + pg::Text(row, 1);
    if (run.MeasureSource(finding.query) == count) {
        run.Add(finding.check_id, "notice", finding.object, what + "; the source has as many",
                finding.fix);
    } else {
        run.Add(finding.check_id, "warning", finding.object, what, finding.fix);
    }
}

} // namespace

void
CheckForeignKeys(CutoverCheckRun &run) {
    constexpr char kId[] = "foreign_key_orphans";
    const pg::SqlResult keys = run.AskTarget(kForeignKeysQuery);
    for (const pg::SqlRow &row : keys.rows) {
        const std::string orphans = pg::Text(row, 2) + " AS c WHERE (" + pg::Text(row, 4) +
                                    ") AND NOT EXISTS (SELECT FROM " + pg::Text(row, 3) +
                                    " AS p WHERE " + pg::Text(row, 5) + ")";
        Judge(run, {kId, pg::Text(row, 1),
                    CountQuery("SELECT ROW(c.*)::pg_catalog.text AS example FROM " + orphans),
                    "rows refer to nothing under foreign key " + QuoteIdentifier(pg::Text(row, 0)),
                    "DELETE FROM " + orphans +
                        ";\n-- or insert the rows that they refer to, if the source has them"});
    }
    run.Close(kId, Counted(keys.rows.size(), "foreign key") + " looked through: no orphans");
}

void
CheckDeferrableKeys(CutoverCheckRun &run) {
    constexpr char kId[] = "deferrable_duplicates";
    const pg::SqlResult keys = run.AskTarget(kDeferrableKeysQuery);
    for (const pg::SqlRow &row : keys.rows) {
        const std::string table = pg::Text(row, 1);
        if (!row.at(4)) {
            run.Add(kId, "notice", table,
                    "constraint " + QuoteIdentifier(pg::Text(row, 0)) +
                        " is deferrable and over expressions: not checked");
            continue;
        }
        // Of two rows, c is the later one.
        const std::string these =
            "(SELECT tableoid, ctid, * FROM " + pg::Text(row, 2) + pg::Text(row, 7) + ")";
        const std::string pairs =
            "(c.tableoid, c.ctid) > (o.tableoid, o.ctid) AND " + pg::Text(row, 6);
        // Sorting finds equal keys in one pass; for an exclusion constraint there is only its
        // index.
        const std::string rows =
            pg::Text(row, 3) == "x"
                ? "SELECT ROW(" + pg::Text(row, 4) + ")::pg_catalog.text AS example FROM " + these +
                      " AS c JOIN " + these + " AS o ON " + pairs
                : "SELECT ROW(" + pg::Text(row, 4) + ")::pg_catalog.text AS example FROM " +
                      pg::Text(row, 2) + " AS c WHERE " + pg::Text(row, 5) + " GROUP BY " +
                      pg::Text(row, 4) + " HAVING pg_catalog.count(*) > 1";
        Judge(run,
              {kId, table, CountQuery(rows),
               "keys are there more than once under deferrable constraint " +
                   QuoteIdentifier(pg::Text(row, 0)),
               "DELETE FROM " + pg::Text(row, 2) + " AS c USING " + these + " AS o WHERE " + pairs +
                   ";\n-- keeps one row of each key: compare it with the source's, with "
                   "livemigrate.compare_data()"});
    }
    run.Close(kId, Counted(keys.rows.size(), "deferrable key") + " looked through: no duplicates");
}

} // namespace livemigrate::stage
