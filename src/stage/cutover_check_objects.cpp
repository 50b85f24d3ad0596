// Indexes, constraints, triggers, sequences and large objects, as they are on both sides.

#include "pg/prelude.hpp"

#include "stage/cutover_check_run.hpp"

#include "core/call_hint.hpp"
#include "core/error.hpp"
#include "core/operator_text.hpp"
#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"
#include "stage/large_object_difference.hpp"

#include <map>

namespace livemigrate::stage {

namespace {

// The migration's tables as w(oid, name).
constexpr char kTables[] = R"(
WITH w AS (
  SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name
  FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[]))
       AS q(schema, name)
  JOIN pg_catalog.pg_namespace n ON n.nspname = q.schema::pg_catalog.name
  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = q.name::pg_catalog.name)
)";

constexpr char kInvalidIndexes[] = R"(
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), c.relkind
FROM w JOIN pg_catalog.pg_index i ON i.indrelid = w.oid AND NOT (i.indisvalid AND i.indisready)
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
ORDER BY 1
)";

constexpr char kNotValidated[] = R"(
SELECT w.name, pg_catalog.quote_ident(k.conname)
FROM w JOIN pg_catalog.pg_constraint k ON k.conrelid = w.oid AND NOT k.convalidated
WHERE k.contype IN ('f', 'c') ORDER BY 1, 2
)";

// Object, its state, and the statement's beginning that sets one; the triggers behind foreign keys
// have names of their own on each server, so a table's are taken together.
constexpr char kTriggerStates[] = R"(
SELECT 'trigger ' || pg_catalog.quote_ident(t.tgname) || ' on ' || w.name, t.tgenabled::pg_catalog.text,
       'ALTER TABLE ' || w.name, 'TRIGGER ' || pg_catalog.quote_ident(t.tgname)
FROM w JOIN pg_catalog.pg_trigger t ON t.tgrelid = w.oid WHERE NOT t.tgisinternal
UNION ALL
SELECT 'triggers of constraints on ' || w.name,
       CASE WHEN pg_catalog.bool_or(t.tgenabled = 'D') THEN 'D' ELSE 'O' END,
       'ALTER TABLE ' || w.name, 'TRIGGER ALL'
FROM w JOIN pg_catalog.pg_trigger t ON t.tgrelid = w.oid WHERE t.tgisinternal GROUP BY w.name
UNION ALL
SELECT 'event trigger ' || pg_catalog.quote_ident(e.evtname), e.evtenabled::pg_catalog.text,
       'ALTER EVENT TRIGGER ' || pg_catalog.quote_ident(e.evtname), ''
FROM pg_catalog.pg_event_trigger e
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = 'pg_catalog.pg_event_trigger'::pg_catalog.regclass
                    AND d.objid = e.oid AND d.deptype = 'e')
)";

// Sequences that number a column, owned by it or in its default: sequence, table, column, whether
// it counts down, the least and the greatest number it gives, whether the column may have
// fractions.
constexpr char kSequenceColumns[] = R"(
SELECT DISTINCT pg_catalog.format('%I.%I', n.nspname, c.relname), w.name,
       pg_catalog.quote_ident(a.attname), s.seqincrement < 0, s.seqmin, s.seqmax, t.oid = 1700
FROM (
  SELECT d.objid AS sequence, d.refobjid AS relation, d.refobjsubid AS column_number
  FROM pg_catalog.pg_depend d
  WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
    AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjsubid > 0
    AND d.deptype IN ('a', 'i')
  UNION
  SELECT d.refobjid, f.adrelid, f.adnum FROM pg_catalog.pg_depend d
  JOIN pg_catalog.pg_attrdef f ON f.oid = d.objid
  WHERE d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
    AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass) u
JOIN pg_catalog.pg_sequence s ON s.seqrelid = u.sequence AND NOT s.seqcycle
JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN w ON w.oid = u.relation
JOIN pg_catalog.pg_attribute a ON a.attrelid = u.relation AND a.attnum = u.column_number
CROSS JOIN LATERAL (
  WITH RECURSIVE made_of(oid) AS (
    SELECT a.atttypid
    UNION ALL
    SELECT y.typbasetype FROM made_of JOIN pg_catalog.pg_type y USING (oid)
    WHERE y.typtype = 'd')
  SELECT oid FROM made_of) t
WHERE t.oid IN (20, 21, 23, 1700)
ORDER BY 1, 2
)";

const char *
StateWord(char state) {
    switch (state) {
    case 'D':
        return "DISABLE";
    case 'R':
        return "ENABLE REPLICA";
    case 'A':
        return "ENABLE ALWAYS";
    default:
        return "ENABLE";
    }
}

// The last number that the sequence has given by what is in the column, as a bigint: what it cannot
// give is not its own. `row` is of kSequenceColumns.
std::string
LastInColumn(const pg::SqlRow &row) {
    const bool down = pg::Flag(row, 3);
    std::string last =
        std::string("pg_catalog.") + (down ? "min" : "max") + "(" + pg::Text(row, 2) + ")";
    if (pg::Flag(row, 6)) {
        last = std::string("pg_catalog.") + (down ? "ceil" : "floor") + "(" + last + ")";
    }
    return "(SELECT " + last + "::pg_catalog.int8 FROM " + pg::Text(row, 1) + " WHERE " +
           pg::Text(row, 2) + " BETWEEN '" + pg::Text(row, 4) + "'::pg_catalog.int8 AND '" +
           pg::Text(row, 5) + "'::pg_catalog.int8)";
}

} // namespace

std::string
WithTables(const char *query) {
    return std::string(kTables) + query;
}

void
CheckIndexes(CutoverCheckRun &run) {
    constexpr char kId[] = "invalid_indexes";
    for (const pg::SqlRow &row : run.AskTarget(WithTables(kInvalidIndexes)).rows) {
        const std::string index = pg::Text(row, 0);
        run.Add(
            kId, "warning", index, "index is not valid, so no query uses it",
            pg::Text(row, 1) == "I"
                ? Comment("create the index on each partition that lacks it, then ALTER INDEX " +
                          index + " ATTACH PARTITION each")
                : "REINDEX INDEX " + index + ";");
    }
    run.Close(kId, "all indexes are valid");
}

void
CheckConstraints(CutoverCheckRun &run) {
    constexpr char kId[] = "constraints_not_validated";
    std::map<std::pair<std::string, std::string>, bool> on_source;
    for (const pg::SqlRow &row : run.AskSource(WithTables(kNotValidated)).rows) {
        on_source[{pg::Text(row, 0), pg::Text(row, 1)}] = true;
    }
    for (const pg::SqlRow &row : run.AskTarget(WithTables(kNotValidated)).rows) {
        const std::string table = pg::Text(row, 0);
        const std::string name = pg::Text(row, 1);
        const bool same = on_source.contains({table, name});
        run.Add(kId, same ? "notice" : "warning", table,
                "constraint " + name + " is not validated" + (same ? ", as on the source" : ""),
                "ALTER TABLE " + table + " VALIDATE CONSTRAINT " + name + ";");
    }
    run.Close(kId, "all constraints are validated");
}

void
CheckTriggers(CutoverCheckRun &run) {
    constexpr char kId[] = "trigger_states";
    std::map<std::string, char> on_source;
    for (const pg::SqlRow &row : run.AskSource(WithTables(kTriggerStates)).rows) {
        on_source[pg::Text(row, 0)] = pg::Text(row, 1).at(0);
    }
    for (const pg::SqlRow &row : run.AskTarget(WithTables(kTriggerStates)).rows) {
        const auto wanted = on_source.find(pg::Text(row, 0));
        const char state = pg::Text(row, 1).at(0);
        if (wanted == on_source.end() || wanted->second == state) {
            continue;
        }
        const std::string end = pg::Text(row, 3).empty() ? ";" : " " + pg::Text(row, 3) + ";";
        run.Add(kId, "warning", pg::Text(row, 0),
                std::string("is ") + (state == 'D' ? "disabled" : "enabled otherwise") +
                    ", unlike on the source",
                pg::Text(row, 2) + " " + StateWord(wanted->second) + end);
    }
    run.Close(kId, "triggers and event triggers are enabled as on the source");
}

void
CheckSequences(CutoverCheckRun &run) {
    constexpr char kId[] = "sequences_behind";
    for (const pg::SqlRow &row : run.AskTarget(WithTables(kSequenceColumns)).rows) {
        const std::string sequence = pg::Text(row, 0);
        const std::string table = pg::Text(row, 1);
        const std::string column = pg::Text(row, 2);
        const std::string last = LastInColumn(row);
        // Behind when the next value, or one before it, is in the column.
        const std::string query = "SELECT " + last + (pg::Flag(row, 3) ? " < " : " > ") +
                                  "s.last_value OR NOT s.is_called AND " + last +
                                  " = s.last_value FROM " + sequence + " AS s";
        const auto result = run.Measure(kId, sequence, query);
        if (!result || result->Scalar() != "t") {
            continue;
        }
        const auto is_behind_there = [&] {
            const auto found = run.MeasureSource(query);
            return found && found->Scalar() == "t";
        };
        const std::string fix =
            "SELECT pg_catalog.setval(" + QuoteLiteral(sequence) + ", " + last + ");";
        if (run.settings.before_cutover) {
            run.Add(kId, "notice", sequence,
                    "is behind " + table + "." + column + "; stage cutover sets it", fix);
        } else if (is_behind_there()) {
            run.Add(kId, "notice", sequence,
                    "is behind " + table + "." + column + ", as on the source", fix);
        } else {
            run.Add(kId, "warning", sequence,
                    "is behind " + table + "." + column +
                        ": new rows would get numbers that are taken",
                    fix);
        }
    }
    run.Close(kId, "no sequence is behind its column");
}

// The guard that migration_check offers (target_sessions), which would hold the application off.
void
CheckReadOnly(CutoverCheckRun &run) {
    constexpr char kId[] = "target_read_only";
    const pg::SqlResult found =
        pg::Query("SELECT pg_catalog.quote_ident(pg_catalog.current_database()), EXISTS ("
                  "SELECT FROM pg_catalog.pg_db_role_setting s "
                  "JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase "
                  "CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c(setting) "
                  "WHERE s.setrole = 0 AND d.datname = pg_catalog.current_database() "
                  "AND c.setting IN ('default_transaction_read_only=on', "
                  "'default_transaction_read_only=true'))");
    const std::string database = pg::Text(found.rows.at(0), 0);
    if (pg::Flag(found.rows[0], 1)) {
        run.Add(kId, "warning", database,
                "sessions of the target database are read-only unless they choose otherwise",
                "ALTER DATABASE " + database + " RESET default_transaction_read_only;");
    }
    run.Close(kId, "sessions of the target database may write");
}

void
CheckLargeObjects(CutoverCheckRun &run) {
    constexpr char kId[] = "large_objects_changed";
    std::optional<LargeObjectDifference> difference;
    try {
        run.LimitSource();
        difference = CompareLargeObjects(run.source, run.Left());
    } catch (const Error &error) {
        if (error.sqlstate() != sqlstate::kInsufficientPrivilege) {
            throw;
        }
        run.Add(kId, "notice", "", "large objects could not be compared: " + error.message());
        return;
    }
    if (!difference) {
        run.Add(kId, "notice", "",
                "the contents of large objects were not compared within the time for checks at "
                "cutover (livemigrate.cutover_check_limit)",
                "SELECT * FROM livemigrate.cutover_check() WHERE severity <> 'ok';");
        return;
    }
    const size_t to_copy = difference->missing.size() + difference->changed.size();
    if (to_copy > 0) {
        run.Add(kId, "warning", "",
                Counted(to_copy, "large object") +
                    " of the source were created or changed after the snapshot; the change stream "
                    "has nothing of them",
                "SELECT livemigrate.copy_large_objects();");
    }
    if (!difference->extra.empty()) {
        run.Add(kId, "warning", "",
                Counted(difference->extra.size(), "large object") +
                    " of the target are not on the source (removed there after the snapshot, or "
                    "made here)",
                "SELECT pg_catalog.lo_unlink(o) FROM pg_catalog.unnest('" +
                    OidArrayText(difference->extra) + "'::pg_catalog.oid[]) AS o;");
    }
    run.Close(kId, "large objects are the same");
}

} // namespace livemigrate::stage
