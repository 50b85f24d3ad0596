// Checks of the selected tables: can every change of theirs be replicated?
#include "pg/prelude.hpp"

#include "stage/preflight_run.hpp"

#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"
#include "source/published_roots.hpp"
#include "stage/routed_identities.hpp"

#include <algorithm>
#include <map>
#include <unordered_map>

namespace livemigrate::stage {

namespace {

using source::SourceTable;

// From this version on there are multiranges.
constexpr int kMultirangeVersion = 140000;

// Large objects; more are not told apart.
constexpr size_t kMostCounted = 100000;

std::string
TableWord(const SourceTable &table) {
    return "table " + TableName(table);
}

// Mistyped patterns select less, or more, than was meant.
void
CheckPatterns(PreflightRun &run) {
    const std::vector<SourceTable> &selected = run.result.tables;
    if (run.filter.include) {
        for (const TablePattern &pattern : *run.filter.include) {
            const bool used =
                std::any_of(selected.begin(), selected.end(), [&](const SourceTable &table) {
                    return pattern.Matches(table.schema, table.name);
                });
            if (!used) {
                run.Fail("table_patterns", sqlstate::kUndefinedTable, pattern.text(),
                         "pattern " + QuoteLiteral(pattern.text()) +
                             " of include_tables selects no table of the source",
                         "-- write schema.table, names with capital letters as they are");
            }
        }
    }
    uint64_t bytes = 0;
    for (const SourceTable &table : selected) {
        bytes += table.bytes;
    }
    const std::string text =
        Count(selected.size(), "table") + " selected, " + FormatBytes(bytes) + " in all";
    if (selected.empty()) {
        run.Notice("tables", "source", "no table is selected",
                   "-- see include_tables and exclude_tables, and whether this is the database");
    } else {
        run.Ok("tables", "source", text);
    }
}

// A root that is selected without one of its partitions would lack that one's rows.
void
CheckPartitions(PreflightRun &run) {
    std::unordered_map<uint32_t, const SourceTable *> selected;
    for (const SourceTable &table : run.result.tables) {
        selected.emplace(table.oid, &table);
    }
    for (const SourceTable &table : run.left_out) {
        const auto root = selected.find(table.parent_oid);
        if (!table.is_partition || root == selected.end()) {
            continue;
        }
        const std::string message = "partition " + TableName(table) +
                                    " is left out while its root " + TableName(*root->second) +
                                    " is selected";
        const bool left_out_on_purpose = std::any_of(
            run.filter.exclude.begin(), run.filter.exclude.end(),
            [&](const TablePattern &pattern) { return pattern.Matches(table.schema, table.name); });
        if (left_out_on_purpose) {
            run.Warning("partitions", TableName(table), message,
                        Comment("nothing to do if its rows are not wanted; else leave it out of "
                                "exclude_tables: " +
                                TableName(table)));
        } else {
            run.Fail("partitions", sqlstate::kInvalidParameterValue, TableName(table), message,
                     Comment("add to include_tables: " + TableName(table)));
        }
    }
}

// The ways to make UPDATE and DELETE of a table replicable, the first one to be run as it is if one
// can be; or to do without.
std::string
IdentityFix(const SourceTable &table, bool may_do_without = true) {
    const std::string alter = "ALTER TABLE " + TableName(table) + " ";
    std::vector<std::string> choices;
    if (table.primary_key_usable) {
        choices.push_back(alter + "REPLICA IDENTITY DEFAULT;");
    }
    if (!table.candidate_index.empty()) {
        choices.push_back(alter + "REPLICA IDENTITY USING INDEX " +
                          QuoteIdentifier(table.candidate_index) + ";");
    }
    if (table.replica_identity != 'f' && table.full_usable) {
        choices.push_back(alter + "REPLICA IDENTITY FULL;");
    }
    const bool is_complete = !choices.empty();
    if (!table.has_primary_key) {
        choices.push_back(alter + "ADD PRIMARY KEY (...);");
    } else if (!is_complete) {
        choices.push_back("CREATE UNIQUE INDEX ... ON " + TableName(table) +
                          " (...); on columns that are NOT NULL, then " + alter +
                          "REPLICA IDENTITY USING INDEX ...;");
    }
    if (may_do_without) {
        choices.push_back(
            "options => '{\"insert_only_tables\": [...]}' if its rows are never changed");
    }
    const std::string first = is_complete ? choices.front() : Comment(choices.front());
    choices.erase(choices.begin());
    return Choices(first, choices);
}

// Why partitions of a root that are created during the migration are not published with all
// changes.
std::string
NewPartitionsObstacle(const PreflightRun &run, const SourceTable &root,
                      const source::TableByRoot &without_identity) {
    if (run.info().version_num < source::kPublishesRootsVersion) {
        return "the source publishes partitions one by one";
    }
    if (run.IsInsertOnly(root)) {
        return "it is among insert_only_tables";
    }
    if (source::CanPublishRoot(root, without_identity, run.info().version_num)) {
        return "";
    }
    if (root.primary_key_usable && !without_identity.contains(root.oid)) {
        return "this minor version of the source looks at its replica identity, which is not "
               "usable";
    }
    return root.primary_key_usable
               ? "its partition " + TableName(*without_identity.at(root.oid)) +
                     " has no usable replica identity"
               : "it has no usable primary key, the only replica identity that they would inherit";
}

std::string
NewPartitionsFix(const PreflightRun &run, const SourceTable &root,
                 const source::TableByRoot &without_identity) {
    const std::string before = "-- create the partitions that will be needed before the migration";
    if (run.info().version_num < source::kPublishesRootsVersion || run.IsInsertOnly(root)) {
        return before;
    }
    if (root.primary_key_usable) {
        const auto found = without_identity.find(root.oid);
        return Choices(IdentityFix(found == without_identity.end() ? root : *found->second, false),
                       {before.substr(3)});
    }
    return root.has_primary_key
               ? before
               : Choices(before, {"ALTER TABLE " + TableName(root) + " ADD PRIMARY KEY (...);"});
}

// A partition that comes later is published through its root, if that can be in a publication.
void
CheckNewPartitions(PreflightRun &run) {
    if (run.result.plugin != Plugin::kPgoutput || run.settings.existing_slot) {
        return;
    }
    std::vector<const SourceTable *> all;
    for (const std::vector<SourceTable> *tables : {&run.result.tables, &run.left_out}) {
        for (const SourceTable &table : *tables) {
            all.push_back(&table);
        }
    }
    const source::TableByRoot without_identity = source::FindWithoutIdentity(all);
    for (const SourceTable &table : run.result.tables) {
        if (table.relkind != 'p') {
            continue;
        }
        const std::string why = NewPartitionsObstacle(run, table, without_identity);
        if (!why.empty()) {
            const bool inserts = run.info().version_num >= source::kPublishesRootsVersion;
            run.Warning("new_partitions", TableName(table),
                        "partitions of " + TableName(table) +
                            " that are created during the migration are " +
                            (inserts ? "replicated without UPDATE and DELETE" : "not replicated") +
                            ", as " + why,
                        NewPartitionsFix(run, table, without_identity));
        }
    }
}

std::string
IdentityProblem(const SourceTable &table) {
    if (table.replica_identity == 'n') {
        return "has REPLICA IDENTITY NOTHING";
    }
    if (table.unsent_key) {
        return table.replica_identity == 'f'
                   ? "has REPLICA IDENTITY FULL with a virtual generated column, with which the "
                     "source refuses to publish UPDATE and DELETE"
                   : "has a generated column in its replica identity, which the change stream does "
                     "not have";
    }
    if (table.replica_identity == 'i') {
        return "has lost the index of its replica identity";
    }
    return table.has_primary_key ? "has only a deferrable or invalid primary key"
                                 : "has no primary key and no replica identity";
}

// An empty table that has only been written by INSERT, if at all, may well stay so (a log, a
// history): it does not stop a migration, and the cutover stage checks that it did.
bool
NothingToLose(const SourceTable &table) {
    return table.relkind == 'r' && table.pages == 0 && table.rows_changed == 0;
}

void
CheckRoutedIdentities(PreflightRun &run) {
    std::unordered_map<uint32_t, const SourceTable *> selected;
    for (const SourceTable &table : run.result.tables) {
        if (table.is_partition && table.identity_usable && run.HasData(table) &&
            !run.IsInsertOnly(table)) {
            selected.emplace(table.oid, &table);
        }
    }
    if (selected.empty()) {
        return;
    }
    for (const uint32_t oid : FindRoutedWithoutKey(run.source)) {
        const auto found = selected.find(oid);
        if (found != selected.end()) {
            const std::string name = TableName(*found->second);
            run.Fail("replica_identity", sqlstate::kObjectNotInPrerequisiteState, name,
                     RoutedWithoutKey(name), "ALTER TABLE " + name + " REPLICA IDENTITY FULL;");
        }
    }
}

// Without an identity wal2json leaves UPDATE and DELETE out silently, and a publication makes the
// application's own UPDATE fail.
void
CheckIdentities(PreflightRun &run) {
    CheckRoutedIdentities(run);
    size_t accepted = 0;
    for (const SourceTable &table : run.result.tables) {
        if (table.identity_usable || !run.HasData(table) || table.persistence != 'p') {
            continue;
        }
        const std::string problem = TableWord(table) + " " + IdentityProblem(table);
        if (run.IsInsertOnly(table)) {
            accepted++;
            run.Notice("replica_identity", TableName(table),
                       problem + ": only INSERT and TRUNCATE are replicated, as was accepted",
                       IdentityFix(table));
        } else if (run.settings.existing_slot) {
            // Whoever made the slot and the publication has decided; nothing changes on the source.
            run.Warning("replica_identity", TableName(table),
                        problem + ": its UPDATE and DELETE cannot be replicated",
                        IdentityFix(table));
        } else if (NothingToLose(table)) {
            run.Warning("replica_identity", TableName(table),
                        problem + "; it is empty and never saw UPDATE or DELETE, so only INSERT "
                                  "and TRUNCATE are replicated, and cutover checks that there "
                                  "was nothing else",
                        IdentityFix(table));
        } else {
            run.Fail("replica_identity", sqlstate::kObjectNotInPrerequisiteState, TableName(table),
                     problem + ": its UPDATE and DELETE cannot be replicated", IdentityFix(table));
        }
    }
    if (accepted == 0 && !run.Failed("replica_identity")) {
        run.Ok("replica_identity", "source", "every selected table has a usable replica identity");
    }
}

void
CheckUnlogged(PreflightRun &run) {
    for (const SourceTable &table : run.result.tables) {
        if (table.persistence == 'u' && run.HasData(table)) {
            run.Notice("unlogged_tables", TableName(table),
                       run.settings.unlogged
                           ? TableWord(table) + " is unlogged: its rows are copied, later changes "
                                                "are not replicated"
                           : TableWord(table) + " is unlogged: its rows are not copied",
                       "ALTER TABLE " + TableName(table) + " SET LOGGED;");
        }
    }
}

void
CheckForeignTables(PreflightRun &run) {
    for (const source::SourceRelation &relation : source::ListOtherRelations(run.source)) {
        const std::string name = QualifiedName(relation.schema, relation.name);
        if (relation.relkind == 'f' && run.filter.Selects(relation.schema, relation.name)) {
            run.Notice("foreign_tables", name,
                       "foreign table " + name +
                           " is defined on the target, its rows stay where "
                           "they are",
                       "-- nothing to do if the target's machine reaches what it leads to");
        }
    }
}

// In replica role PostgreSQL does not check deferrable keys.
void
CheckDeferrableKeys(PreflightRun &run) {
    for (const SourceTable &table : run.result.tables) {
        if (table.deferrable_key && run.HasData(table)) {
            run.Warning("deferrable_keys", TableName(table),
                        TableWord(table) + " has a deferrable key: applied changes are not "
                                           "checked against it before cutover",
                        "-- nothing to do: the stage cutover looks for duplicates, and so does "
                        "SELECT * FROM livemigrate.cutover_check();");
        }
    }
}

void
CheckLargeObjects(PreflightRun &run) {
    const pg::SqlResult found =
        run.source.Query("SELECT pg_catalog.count(*) FROM"
                         " (SELECT FROM pg_catalog.pg_largeobject_metadata LIMIT " +
                         std::to_string(kMostCounted + 1) + ") o");
    const size_t count = pg::Number<size_t>(found.rows.at(0), 0);
    if (count > 0) {
        run.Notice("large_objects", "source",
                   std::string(count > kMostCounted ? "more than " : "") +
                       Count(std::min(count, kMostCounted), "large object") +
                       ": copied, but changes after the copy has begun are not replicated",
                   "-- when the application has stopped, before it moves, on the target: "
                   "SELECT livemigrate.copy_large_objects();");
    }
}

// By table, the columns of a built-in type, and of types that are made of it: arrays, domains,
// ranges and rows.
std::map<uint32_t, std::string>
ListColumns(PreflightRun &run, const std::string &type) {
    const bool has_multiranges = run.info().version_num >= kMultirangeVersion;
    const pg::SqlResult found = run.source.Query(
        "WITH RECURSIVE made_of(whole, part) AS ("
        "SELECT t.oid, t.typelem FROM pg_catalog.pg_type t WHERE t.typelem <> 0 "
        "UNION ALL SELECT t.oid, t.typbasetype FROM pg_catalog.pg_type t WHERE t.typtype = 'd' "
        "UNION ALL SELECT r.rngtypid, r.rngsubtype FROM pg_catalog.pg_range r " +
        std::string(has_multiranges ? "UNION ALL SELECT r.rngmultitypid, r.rngtypid "
                                      "FROM pg_catalog.pg_range r "
                                    : "") +
        "UNION ALL SELECT c.reltype, a.atttypid FROM pg_catalog.pg_attribute a "
        "JOIN pg_catalog.pg_class c ON c.oid = a.attrelid "
        "WHERE a.attnum > 0 AND NOT a.attisdropped AND c.reltype <> 0), "
        "holding(type) AS (SELECT 'pg_catalog." +
        type +
        "'::pg_catalog.regtype::pg_catalog.oid "
        "UNION SELECT m.whole FROM holding h JOIN made_of m ON m.part = h.type) "
        "SELECT c.oid, pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' "
        "ORDER BY a.attnum) FROM pg_catalog.pg_attribute a "
        "JOIN pg_catalog.pg_class c ON c.oid = a.attrelid "
        "JOIN holding h ON h.type = a.atttypid "
        "WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind = 'r' "
        "GROUP BY c.oid");
    std::map<uint32_t, std::string> columns;
    for (const pg::SqlRow &row : found.rows) {
        columns[pg::Number<uint32_t>(row, 0)] = pg::Text(row, 1);
    }
    return columns;
}

// A reg* column travels as a name, which the target looks up; an OID as a number, which stands for
// the same thing there if that is a large object, or built in.
void
CheckOidColumns(PreflightRun &run) {
    const std::map<uint32_t, std::string> columns = ListColumns(run, "oid");
    for (const SourceTable &table : run.result.tables) {
        const auto column = columns.find(table.oid);
        if (column != columns.end() && run.HasData(table)) {
            run.Notice("oid_columns", TableName(table),
                       TableWord(table) + " has OIDs in " + column->second +
                           ": they arrive as they are; those of large objects stay valid, those of "
                           "tables, functions and roles do not",
                       "-- nothing to do for large objects; else set them anew on the target, or "
                       "use a type such as regclass, which travels as a name");
        }
    }
}

void
CheckSplitting(PreflightRun &run) {
    if (run.info().version_num >= source::kTidRangeScanVersion || run.settings.split_bytes == 0 ||
        run.settings.existing_slot) {
        return;
    }
    std::vector<std::string> names;
    for (const SourceTable &table : run.result.tables) {
        if (run.HasData(table) && table.bytes > run.settings.split_bytes) {
            names.push_back(TableName(table));
        }
    }
    if (!names.empty()) {
        run.Notice("split_tables", ListNames(names),
                   "a source before 14 sends a table in one part, also where it is larger than "
                   "split_tables_larger_than: " +
                       Count(names.size(), "table") + " that one worker copies alone",
                   "-- nothing to do: the copy takes as long as the largest of them; where they "
                   "are partitioned, partitions are copied side by side");
    }
}

// Infinite intervals came with this version.
constexpr int kInfiniteIntervalVersion = 170000;

void
CheckIntervals(PreflightRun &run) {
    if (run.info().version_num < kInfiniteIntervalVersion || pg::HasInfiniteIntervals()) {
        return;
    }
    const std::map<uint32_t, std::string> columns = ListColumns(run, "interval");
    for (const SourceTable &table : run.result.tables) {
        const auto column = columns.find(table.oid);
        if (column != columns.end() && run.HasData(table)) {
            run.Warning(
                "infinite_intervals", TableName(table),
                TableWord(table) + " has intervals in " + column->second +
                    ": the target knows no infinite ones, so that such a row of the source "
                    "stops the migration",
                "-- on the source, look for values that isfinite() is false for, and change "
                "them\n-- or: use a target of PostgreSQL 17 or newer");
        }
    }
}

// Tables of these extensions hold their own catalogs, which rows copied into would break.
void
CheckTableExtensions(PreflightRun &run) {
    const pg::SqlResult found =
        run.source.Query("SELECT extname FROM pg_catalog.pg_extension"
                         " WHERE extname IN ('timescaledb', 'citus') ORDER BY extname");
    for (const pg::SqlRow &row : found.rows) {
        const std::string name = pg::Text(row, 0);
        run.Fail("table_extensions", sqlstate::kFeatureNotSupported, QuoteIdentifier(name),
                 "the source database uses " + name +
                     ", whose tables this migration cannot read as plain tables",
                 name == "citus"
                     ? "-- see \"A source with Citus\" in doc/citus.md: dump and restore, or plain "
                       "tables of Citus's there first"
                     : "-- see \"A source with TimescaleDB\" in doc/hypertables.md: dump and "
                       "restore, or the extension's own tools");
    }
}

} // namespace

void
CheckTables(PreflightRun &run) {
    CheckPatterns(run);
    CheckPartitions(run);
    CheckTableExtensions(run);
    CheckIdentities(run);
    CheckNewPartitions(run);
    CheckUnlogged(run);
    CheckForeignTables(run);
    CheckDeferrableKeys(run);
    CheckLargeObjects(run);
    CheckOidColumns(run);
    CheckSplitting(run);
    CheckIntervals(run);
}

} // namespace livemigrate::stage
