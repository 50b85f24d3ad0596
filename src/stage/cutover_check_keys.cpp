// Foreign keys and deferrable keys: session_replication_role = replica switches off the triggers
// that enforce them, so what is applied is as good as what the source sent.

#include "pg/prelude.hpp"

#include "stage/cutover_check_run.hpp"

#include "core/operator_text.hpp"
#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

#include <algorithm>

namespace livemigrate::stage {

namespace {

// More are "1000 or more", and not compared with the source's.
constexpr size_t kMostViolations = 1000;

// Validated foreign keys of the migration's tables, small tables first: name, table, table with
// ONLY as the constraint means it, the same of the referenced table, when a row refers to anything
// (columns of c), when p is that row, and the columns of c that tell a row: the primary key, if
// there is one, and what refers.
constexpr char kForeignKeysQuery[] = R"(
SELECT k.conname, c.name, c.only_name, p.only_name, e.refers, e.matches, i.columns
FROM pg_catalog.pg_constraint k
LEFT JOIN pg_catalog.pg_constraint y ON y.conrelid = k.conrelid AND y.contype = 'p'
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
CROSS JOIN LATERAL (
  SELECT pg_catalog.string_agg(pg_catalog.format('c.%I', a.attname), ', ' ORDER BY u.n) AS columns
  FROM (SELECT b.number, pg_catalog.min(b.n) AS n
        FROM pg_catalog.unnest(y.conkey || k.conkey) WITH ORDINALITY AS b(number, n)
        GROUP BY b.number) u
  JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number) i
WHERE k.contype = 'f' AND k.convalidated AND k.conparentid = 0
ORDER BY (SELECT r.relpages FROM pg_catalog.pg_class r WHERE r.oid = k.conrelid), c.name, k.conname
)";

// Deferrable primary keys, unique and exclusion constraints: name, table with ONLY, type, columns
// of alias c and of alias o as a list, when a row c can collide with another, when rows c and o do,
// the rows it is about. Those over expressions have NULLs. In a row of pg_index as JSON, a server
// before 15 has no indnullsnotdistinct.
constexpr char kDeferrableKeysQuery[] = R"(
SELECT k.conname, c.name, c.only_name, k.contype, e.columns, e.other_columns,
       CASE WHEN z.nulls_collide THEN 'true' ELSE e.given END,
       CASE WHEN z.nulls_collide THEN e.collide_with_nulls ELSE e.collide END,
       COALESCE(' WHERE ' || pg_catalog.pg_get_expr(i.indpred, i.indrelid), '')
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_index i ON i.indexrelid = k.conindid
CROSS JOIN LATERAL (
  SELECT COALESCE((pg_catalog.to_jsonb(i) ->> 'indnullsnotdistinct')::pg_catalog.bool, false)
         AS nulls_collide) z
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
         pg_catalog.string_agg(pg_catalog.format('o.%I', a.attname), ', ' ORDER BY u.n)
           AS other_columns,
         pg_catalog.string_agg(pg_catalog.format('c.%I IS NOT NULL', a.attname), ' AND ') AS given,
         pg_catalog.string_agg(pg_catalog.format('c.%I OPERATOR(%I.%s) o.%1$I', a.attname, s.nspname,
                                                 o.oprname), ' AND ') AS collide,
         pg_catalog.string_agg(
           pg_catalog.format('(c.%I OPERATOR(%I.%s) o.%1$I OR c.%1$I IS NULL AND o.%1$I IS NULL)',
                             a.attname, s.nspname, o.oprname), ' AND ') AS collide_with_nulls
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
ORDER BY (SELECT r.relpages FROM pg_catalog.pg_class r WHERE r.oid = k.conrelid), c.name, k.conname
)";

// A row's columns as text.
std::string
RowText(const std::string &columns) {
    return "ROW(" + columns + ")::pg_catalog.text";
}

struct Finding {
    const char *check_id;
    std::string object;
    std::string violations; // a query of one column: what tells each from all others
    std::string what;       // behind the count
    std::string fix;
};

std::vector<std::string>
Sorted(const pg::SqlResult &result) {
    std::vector<std::string> texts;
    for (const pg::SqlRow &row : result.rows) {
        texts.push_back(pg::Text(row, 0));
    }
    std::sort(texts.begin(), texts.end());
    return texts;
}

// The source has the same when it has the same violations, not as many.
void
Judge(CutoverCheckRun &run, const Finding &finding) {
    const std::string query = finding.violations + " LIMIT " + std::to_string(kMostViolations);
    const auto result = run.Measure(finding.check_id, finding.object, query);
    if (!result || result->rows.empty()) {
        return;
    }
    const std::vector<std::string> here = Sorted(*result);
    const bool all = here.size() < kMostViolations;
    const std::string what = std::to_string(here.size()) + (all ? " " : " or more ") +
                             finding.what + ", such as " + here.front();
    const auto there = all ? run.MeasureSource(query) : std::nullopt;
    if (!there) {
        run.Add(finding.check_id, "warning", finding.object,
                what + "; whether the source has the same is not known", finding.fix);
    } else if (Sorted(*there) == here) {
        run.Add(finding.check_id, "notice", finding.object, what + "; the source has the same",
                finding.fix);
    } else {
        run.Add(finding.check_id, "warning", finding.object, what, finding.fix);
    }
}

// Rows that collide, as pairs: c is the later one of two.
struct Collisions {
    std::string rows; // a subquery
    std::string pairs;
};

// Sorting finds equal keys in one pass; for an exclusion constraint there is only its index.
std::string
FindCollisions(const pg::SqlRow &key, const Collisions &collisions) {
    const std::string row = RowText(pg::Text(key, 4));
    if (pg::Text(key, 3) == "x") {
        const std::string ours = row + " COLLATE pg_catalog.\"C\"";
        const std::string others = RowText(pg::Text(key, 5));
        return "SELECT LEAST(" + ours + ", " + others + ") || ' and ' || GREATEST(" + ours + ", " +
               others + ") FROM " + collisions.rows + " AS c JOIN " + collisions.rows +
               " AS o ON " + collisions.pairs;
    }
    return "SELECT " + row + " || ', ' || pg_catalog.count(*) || ' times' FROM " +
           pg::Text(key, 2) + " AS c WHERE " + pg::Text(key, 6) + " GROUP BY " + pg::Text(key, 4) +
           " HAVING pg_catalog.count(*) > 1";
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
        Judge(run,
              {kId, pg::Text(row, 1), "SELECT " + RowText(pg::Text(row, 6)) + " FROM " + orphans,
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
        const Collisions collisions{
            "(SELECT tableoid, ctid, * FROM " + pg::Text(row, 2) + pg::Text(row, 8) + ")",
            "(c.tableoid, c.ctid) > (o.tableoid, o.ctid) AND " + pg::Text(row, 7)};
        Judge(run, {kId, table, FindCollisions(row, collisions),
                    "keys are there more than once under deferrable constraint " +
                        QuoteIdentifier(pg::Text(row, 0)),
                    "DELETE FROM " + pg::Text(row, 2) + " AS c USING " + collisions.rows +
                        " AS o WHERE " + collisions.pairs +
                        ";\n-- keeps one row of each key: compare it with the source's, with "
                        "livemigrate.compare_data()"});
    }
    run.Close(kId, Counted(keys.rows.size(), "deferrable key") + " looked through: no duplicates");
}

} // namespace livemigrate::stage
