// Checks of what is in the target database already, against what would come into it.
#include "pg/prelude.hpp"

#include "stage/preflight_run.hpp"

#include "core/call_hint.hpp"
#include "core/sql_text.hpp"
#include "pg/extension_config.hpp"
#include "pg/sql_row.hpp"
#include "pg/table_manager.hpp"
#include "stage/column_types.hpp"
#include "stage/filled_tables.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

namespace livemigrate::stage {

namespace {

constexpr size_t kObjectsInFix = 100;
constexpr size_t kNamesInMessage = 10;

// User objects of a database, the same query on both sides: kind of name space, schema, name,
// arguments, what DROP calls it, the extension it belongs to. A schema is none: one that is there
// already is used.
constexpr char kListObjects[] = R"sql(
WITH member AS (
    SELECT d.classid, d.objid, e.extname
    FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
    WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'),
user_schema AS (
    SELECT oid, nspname FROM pg_catalog.pg_namespace
    WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'livemigrate'))
SELECT 'relation', n.nspname, c.relname, '',
       CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
                      WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE'
                      WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END,
       m.extname
FROM pg_catalog.pg_class c
JOIN user_schema n ON n.oid = c.relnamespace
LEFT JOIN member m
  ON m.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND m.objid = c.oid
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
UNION ALL
SELECT 'type', n.nspname, t.typname, '', CASE t.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END,
       m.extname
FROM pg_catalog.pg_type t
JOIN user_schema n ON n.oid = t.typnamespace
LEFT JOIN member m
  ON m.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND m.objid = t.oid
WHERE t.typtype IN ('d', 'e', 'r')
UNION ALL
SELECT 'routine', n.nspname, p.proname,
       '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')', 'ROUTINE', m.extname
FROM pg_catalog.pg_proc p
JOIN user_schema n ON n.oid = p.pronamespace
LEFT JOIN member m
  ON m.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND m.objid = p.oid
ORDER BY 1, 2, 3, 4
)sql";

using ObjectKey = std::tuple<std::string, std::string, std::string, std::string>;

struct TargetObject {
    std::string word; // as in DROP <word>
    std::string extension;
};

using TargetObjects = std::map<ObjectKey, TargetObject>;

ObjectKey
KeyOf(const pg::SqlRow &row) {
    return {pg::Text(row, 0), pg::Text(row, 1), pg::Text(row, 2), pg::Text(row, 3)};
}

TargetObjects
ListTargetObjects() {
    TargetObjects objects;
    for (const pg::SqlRow &row : pg::Query(kListObjects).rows) {
        objects.emplace(KeyOf(row), TargetObject{pg::Text(row, 4), pg::Text(row, 5)});
    }
    return objects;
}

std::string
NameOf(const ObjectKey &key) {
    return QualifiedName(std::get<1>(key), std::get<2>(key)) + std::get<3>(key);
}

// The target's objects whose names the source's need. Empty when the target is.
TargetObjects
FindClashes(PreflightRun &run, const TargetObjects &present) {
    TargetObjects clashes;
    if (present.empty()) {
        return clashes;
    }
    for (const pg::SqlRow &row : run.source.Query(kListObjects).rows) {
        const std::string word = pg::Text(row, 4);
        const bool is_table = word == "TABLE" || word == "FOREIGN TABLE";
        if (row.at(5) || (is_table && !run.filter.Selects(pg::Text(row, 1), pg::Text(row, 2)))) {
            continue;
        }
        const auto found = present.find(KeyOf(row));
        if (found != present.end()) {
            clashes.insert(*found);
        }
    }
    return clashes;
}

// Behind what drops the first of `count` objects, and a blank or line feed.
std::string
RemarkOnOthers(size_t count, const std::string &blank) {
    return count <= kObjectsInFix ? ""
                                  : blank + "-- then " + std::to_string(count - kObjectsInFix) +
                                        " more, which another migration_check names";
}

void
FailClashes(PreflightRun &run, const TargetObjects &clashes) {
    std::vector<std::string> names;
    std::string drop;
    size_t droppable = 0;
    for (const auto &[key, object] : clashes) {
        std::string name = object.word + " " + NameOf(key);
        if (!object.extension.empty()) {
            name += " of extension " + QuoteIdentifier(object.extension);
        } else if (++droppable <= kObjectsInFix) {
            drop += (drop.empty() ? "" : "\n") + std::string("DROP ") + object.word +
                    " IF EXISTS " + NameOf(key) + " CASCADE;";
        }
        names.push_back(name);
    }
    drop += RemarkOnOthers(droppable, "\n");
    run.Fail("target_empty", sqlstate::kDuplicateObject, "target",
             "the target database has " + Count(names.size(), "object") +
                 " with names that the source's need: " + ListNames(names, kNamesInMessage),
             Choices(drop, {"on_existing => 'truncate' to empty the tables that are there",
                            "on_existing => 'skip_schema' when they are there and empty"}));
}

// A database with tables of its own is rarely the one that was meant. Naming what to migrate says
// that it was.
void
FailOtherTables(PreflightRun &run, const TargetObjects &present, const TargetObjects &clashes) {
    std::vector<std::string> names;
    for (const auto &[key, object] : present) {
        if (object.word == "TABLE" && object.extension.empty() && !clashes.contains(key)) {
            names.push_back(NameOf(key));
        }
    }
    if (names.empty() || run.settings.include_tables) {
        return;
    }
    std::vector<std::string> first = names;
    first.resize(std::min(names.size(), kObjectsInFix));
    run.Fail("target_empty", sqlstate::kObjectNotInPrerequisiteState, "target",
             "the target database is not empty, it has " + Count(names.size(), "other table") +
                 ": " + ListNames(names, kNamesInMessage),
             Choices("-- migrate into an empty database",
                     {"include_tables => '{*.*}' to leave these tables as they are",
                      "DROP TABLE " + ListNames(first, kObjectsInFix) + ";" +
                          RemarkOnOthers(names.size(), " ")}));
}

void
CheckEmpty(PreflightRun &run, const TargetObjects &present) {
    const TargetObjects clashes = FindClashes(run, present);
    if (!clashes.empty()) {
        FailClashes(run, clashes);
    }
    FailOtherTables(run, present, clashes);
    if (!run.Failed("target_empty")) {
        run.Ok("target_empty", "target", "nothing in the target database is in the way");
    }
}

bool
IsPresent(const TargetObjects &present, const source::SourceTable &table) {
    return present.contains({"relation", table.schema, table.name, ""});
}

// Partitions that the target lacks, while it has the topmost table: their rows go through that.
struct RoutedTables {
    std::set<uint32_t> partitions; // OIDs
    std::set<uint32_t> roots;
};

RoutedTables
FindRouted(const PreflightRun &run, const TargetObjects &present) {
    std::map<uint32_t, const source::SourceTable *> selected;
    for (const source::SourceTable &table : run.result.tables) {
        selected.emplace(table.oid, &table);
    }
    RoutedTables routed;
    for (const source::SourceTable &table : run.result.tables) {
        const source::SourceTable *root = &table;
        while (root->is_partition && selected.contains(root->parent_oid)) {
            root = selected.at(root->parent_oid);
        }
        if (root != &table && !IsPresent(present, table) && IsPresent(present, *root)) {
            routed.partitions.insert(table.oid);
            routed.roots.insert(root->oid);
        }
    }
    return routed;
}

// Returns whether all selected tables are on the target.
bool
CheckTablesPresent(PreflightRun &run, const TargetObjects &present, const RoutedTables &routed) {
    std::vector<std::string> missing;
    for (const source::SourceTable &table : run.result.tables) {
        if (!IsPresent(present, table) && !routed.partitions.contains(table.oid)) {
            missing.push_back(TableName(table));
        }
    }
    if (missing.empty() && !routed.partitions.empty()) {
        run.Notice("target_tables", "target",
                   "the target lacks " + Count(routed.partitions.size(), "partition") +
                       ": their rows go through the partitioned table at the top",
                   "-- to have them there, create them as they are on the source");
        return true;
    }
    if (missing.empty()) {
        run.Ok("target_tables", "target", "all selected tables are on the target");
        return true;
    }
    run.Fail("target_tables", sqlstate::kUndefinedTable, "target",
             "the target lacks " + Count(missing.size(), "selected table") + ": " +
                 ListNames(missing, kNamesInMessage),
             run.settings.existing_slot
                 ? "-- restore the schema and the data that the slot begins with"
                 : "-- on_existing => 'error' creates the tables; or restore the schema yourself");
    return false;
}

// Whoever keeps the tables that are there has perhaps made them by hand.
void
CheckColumnTypes(PreflightRun &run, const RoutedTables &routed) {
    std::vector<std::pair<std::string, std::string>> tables;
    for (const source::SourceTable &table : run.result.tables) {
        if (run.HasData(table) || routed.roots.contains(table.oid)) {
            tables.emplace_back(table.schema, table.name);
        }
    }
    const std::vector<ColumnTypeProblem> problems = FindColumnTypeProblems(run.source, tables);
    for (const ColumnTypeProblem &problem : problems) {
        if (problem.kind == TypeFit::Kind::kChanges) {
            run.Fail("column_types", sqlstate::kDatatypeMismatch, problem.table, problem.message,
                     problem.fix);
        } else {
            run.Warning("column_types", problem.table, problem.message, problem.fix);
        }
    }
    if (problems.empty()) {
        run.Ok("column_types", "target", "the target's columns can hold what the source's have");
    }
}

// The source's condition says which rows are copied, the target's which are emptied or must not be
// there.
void
CheckUserRows(PreflightRun &run) {
    for (const source::SourceTable &table : run.result.tables) {
        if (!table.is_extension_config || !run.HasData(table)) {
            continue;
        }
        const Oid relid = pg::FindTable(table.schema, table.name);
        const auto condition = pg::UserRowsCondition(relid);
        if (!condition && run.settings.on_existing == OnExisting::kTruncate) {
            run.Fail("extensions", sqlstate::kObjectNotInPrerequisiteState, TableName(table),
                     TableName(table) + " is configuration of an extension on the source only, so "
                                        "the target does not say which of its rows may go",
                     Choices("-- have the extension in the same version on both servers",
                             {"exclude_tables => '{" + table.schema + "." + table.name + "}'"}));
        } else if (condition && *condition != pg::WithoutWhere(table.extension_condition)) {
            run.Warning("extension_versions", TableName(table),
                        "the user's rows of " + TableName(table) +
                            " are told apart otherwise on the target: by \"" + *condition +
                            "\", on the source by \"" +
                            pg::WithoutWhere(table.extension_condition) + "\"",
                        "-- have the extension in the same version on both servers");
        }
    }
}

void
CheckTablesEmpty(PreflightRun &run, const RoutedTables &routed) {
    std::vector<std::pair<std::string, std::string>> tables;
    for (const source::SourceTable &table : run.result.tables) {
        if (run.HasData(table) || routed.roots.contains(table.oid)) {
            tables.emplace_back(table.schema, table.name);
        }
    }
    const FilledTables found = FindFilledTables(tables, kObjectsInFix);
    if (found.filled.empty()) {
        run.Ok("target_rows", "target", "the selected tables are empty on the target");
        return;
    }
    std::vector<std::string> names;
    for (const TargetTable &table : found.filled) {
        names.push_back(table.name);
    }
    run.Fail("target_rows", sqlstate::kObjectNotInPrerequisiteState, "target",
             "tables of the target have rows already: " + ListNames(names, kNamesInMessage) +
                 (found.more ? " at least" : ""),
             Choices(EmptyingSql(found), {"on_existing => 'truncate'"}));
}

// Large objects keep their OIDs.
void
CheckLargeObjects(PreflightRun &run) {
    constexpr char kAny[] = "SELECT EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata)";
    if (run.source.Query(kAny).Scalar() != "t") {
        return;
    }
    if (pg::Query(kAny).Scalar() == "t") {
        run.Fail("target_large_objects", sqlstate::kDuplicateObject, "target",
                 "the target database has large objects, and so has the source",
                 "SELECT lo_unlink(oid) FROM pg_largeobject_metadata;");
    } else {
        run.Ok("target_large_objects", "target", "the target has no large objects");
    }
}

} // namespace

void
CheckTargetObjects(PreflightRun &run) {
    const TargetObjects present = ListTargetObjects();
    const RoutedTables routed = FindRouted(run, present);
    if (run.settings.existing_slot) {
        if (CheckTablesPresent(run, present, routed)) {
            CheckColumnTypes(run, routed);
        }
    } else if (run.settings.on_existing == OnExisting::kError) {
        CheckEmpty(run, present);
        CheckLargeObjects(run);
    } else if (CheckTablesPresent(run, present, routed)) {
        CheckUserRows(run);
        CheckColumnTypes(run, routed);
        if (run.settings.on_existing == OnExisting::kSkipSchema) {
            CheckTablesEmpty(run, routed);
        }
    }
}

} // namespace livemigrate::stage
