// The target's tables, as the user has made them before the data comes: distributed ones,
// hypertables, and other partitions than the source's, whose rows go through the root.

#include "pg/prelude.hpp"

#include "control/coordinator.hpp"

#include "control/new_partitions.hpp"
#include "control/table_selection.hpp"
#include "core/operator_text.hpp"
#include "core/sql_text.hpp"
#include "pg/local_settings.hpp"
#include "pg/table_manager.hpp"
#include "pg/transaction.hpp"
#include "stage/citus_limits.hpp"
#include "stage/distribution.hpp"
#include "stage/filled_tables.hpp"
#include "stage/hypertable_limits.hpp"
#include "stage/key_problems.hpp"

#include <algorithm>
#include <set>

namespace livemigrate::control {

namespace {

using Name = std::pair<std::string, std::string>;

constexpr size_t kMostPartitions = 20;
constexpr size_t kMostFilled = 20;

// Their rows cannot be found among the root's, where others may have the same key.
[[noreturn]] void
ThrowAmbiguous(const std::vector<CopyTable> &tables) {
    std::string names;
    std::string fix;
    for (size_t i = 0; i < std::min(tables.size(), kMostPartitions); i++) {
        const std::string name = QualifiedName(tables[i].schema, tables[i].name);
        names += (i == 0 ? "" : ", ") + name;
        fix += "ALTER TABLE " + name + " REPLICA IDENTITY FULL; ";
    }
    const std::string root = QualifiedName(tables[0].root_schema, tables[0].root_name);
    throw Error(sqlstate::kObjectNotInPrerequisiteState,
                Counted(tables.size(), "partition") + (tables.size() == 1 ? " has" : " have") +
                    " a replica identity without the partition key, and not the same bounds on "
                    "the target")
        .Detail("Rows would be found by it in " + root + ", where others may have the same. Of: " +
                names + (tables.size() > kMostPartitions ? " and others" : "") + ".")
        .Hint("Have the same partitions on the target as on the source, then run: SELECT "
              "livemigrate.migration_resume(); or run on the source: " +
              fix + "and start over: SELECT livemigrate.migration_abort();");
}

// Rows of a table that is left alone could not be told from the migration's own.
[[noreturn]] void
ThrowLeftOut(const CopyTable &table, const std::string &left_out) {
    const std::string root = QualifiedName(table.root_schema, table.root_name);
    throw Error(sqlstate::kFeatureNotSupported, "partition " + left_out +
                                                    " is left out of the migration, and " + root +
                                                    " has not the same partitions on the target")
        .Detail("Rows go through " + root +
                ", where those of the partition that is left out could not be told from the "
                "others.")
        .Hint("Have the same partitions on the target as on the source, then run: SELECT "
              "livemigrate.migration_resume(); or start over with all of them: SELECT "
              "livemigrate.migration_abort();");
}

// What was copied into one table would be emptied, or copied again, in another.
[[noreturn]] void
ThrowRearrangedLate() {
    throw Error(sqlstate::kObjectNotInPrerequisiteState,
                "partitions of the target were changed while their rows are copied")
        .Hint("Have those partitions again that were there when the copy began, then run: SELECT "
              "livemigrate.migration_resume(); or start over: SELECT "
              "livemigrate.migration_abort();");
}

} // namespace

// Tables may have become such since the check, be they the migration's or the user's.
void
Coordinator::CheckSingleShards() {
    pg::Transaction transaction;
    std::set<Name> names;
    std::vector<stage::PlacedTable> tables;
    for (const CopyTable &table : LoadTables(migration_.id)) {
        if (names.emplace(table.target_schema, table.target_name).second) {
            tables.push_back({table.source_oid, table.target_schema, table.target_name, {}});
        }
    }
    const std::vector<stage::TableProblem> problems = stage::FindSingleShards(tables);
    transaction.Commit();
    if (problems.empty()) {
        return;
    }
    std::string others;
    std::string fix;
    for (const stage::TableProblem &problem : problems) {
        others += &problem == &problems.front() ? "" : "Also: " + problem.message + ".\n";
        fix += stage::LateFix(problem) + "\n";
    }
    throw Error(sqlstate::kFeatureNotSupported, problems.front().message)
        .Detail(others + "Nothing is copied.")
        .Hint(fix + "SELECT livemigrate.migration_resume();");
}

// Before hours of copying: what could not be created after it.
void
Coordinator::CheckPlacedTables() {
    if (migration_.settings.on_existing != OnExisting::kError) {
        return;
    }
    pg::Transaction transaction;
    std::vector<stage::TableProblem> problems;
    std::vector<stage::PlacedTable> tables;
    stage::HypertableSources hypertables;
    hypertables.are_made = true;
    bool distributed = false;
    for (const CopyTable &table : LoadTables(migration_.id)) {
        const pg::TableManager manager = pg::ManagerOf(table.schema, table.name);
        stage::Distribution distribution;
        if (manager == pg::TableManager::kCitus) {
            distribution = stage::DistributionOf(table.schema, table.name);
            distributed = true;
        }
        tables.push_back({table.source_oid, table.schema, table.name, distribution});
        hypertables.tables.push_back(table.source_oid);
        if (manager == pg::TableManager::kTimescaledb) {
            hypertables.hypertables.push_back(table.source_oid);
        }
        if (manager == pg::TableManager::kNone) {
            continue;
        }
        const auto found = stage::FindKeyProblems(
            *snapshot_session_, table.source_oid, table.schema, table.name,
            pg::PlacementColumns(table.schema, table.name, manager), manager);
        problems.insert(problems.end(), found.begin(), found.end());
    }
    size_t keys = problems.size();
    std::vector<stage::TableProblem> slow;
    if (distributed) {
        slow = stage::FindWideIdentities(*snapshot_session_, tables);
        const auto found = stage::FindForeignKeyProblems(*snapshot_session_, tables);
        problems.insert(problems.end(), found.begin(), found.end());
        keys = problems.size();
        const auto limits = stage::FindCitusLimits(*snapshot_session_, tables);
        problems.insert(problems.end(), limits.begin(), limits.end());
    }
    const auto found = stage::FindHypertableLimits(*snapshot_session_, hypertables);
    problems.insert(problems.end(), found.begin(), found.end());
    transaction.Commit();
    if (problems.empty()) {
        for (const stage::TableProblem &problem : slow) {
            Event("warning", problem.message, stage::LateFix(problem));
        }
        return;
    }
    std::string detail;
    std::string fix;
    for (const stage::TableProblem &problem : problems) {
        detail += (detail.empty() ? "" : "\n") + problem.message + ".";
        fix += stage::LateFix(problem) + "\n";
    }
    throw Error(sqlstate::kFeatureNotSupported,
                std::string(keys > 0 ? "a key" : "a part of the schema") +
                    " of the source cannot be on the target's " +
                    (distributed ? "distributed tables" : "hypertable"))
        .Detail(detail)
        .Hint(fix + "SELECT livemigrate.migration_resume();");
}

// Before anything is copied: later a table that is not complete is empty, and one that is may share
// a root with it. What CREATE EXTENSION has put into the configuration tables that it has made is
// no stranger's. REQUIRES: an open transaction.
void
Coordinator::CheckTablesEmpty(const std::vector<CopyTable> &tables) {
    const bool were_there = migration_.settings.on_existing == OnExisting::kSkipSchema;
    std::set<Name> names; // a root in place of its partitions
    for (const CopyTable &table : tables) {
        if (table.copy_data && table.state != "skipped" &&
            (were_there || !table.is_extension_config)) {
            names.emplace(table.target_schema, table.target_name);
        }
    }
    // A table with pages that somebody keeps locked is looked at again later: a pause or an abort
    // must come through meanwhile.
    const pg::LocalSettings settings({{"lock_timeout", "1s"}});
    const stage::FilledTables found =
        stage::FindFilledTables({names.begin(), names.end()}, kMostFilled);
    if (found.filled.empty()) {
        return;
    }
    std::string list;
    for (const stage::TargetTable &table : found.filled) {
        list += (list.empty() ? "" : ", ") + table.name;
    }
    throw Error(sqlstate::kObjectNotInPrerequisiteState,
                "tables of the target have rows before any is copied: " + list +
                    (found.more ? " and others" : ""))
        .Detail(std::string("Somebody has written them since ") +
                (were_there ? "the migration began" : "the migration made the tables") +
                "; the source's would come on top of them.")
        .Hint(stage::EmptyingSql(found) +
              (found.more ? "\n-- and then those that are named when the migration goes on:" : "") +
              "\nSELECT livemigrate.migration_resume();");
}

// What the user made of the tables since the schema stage, where changes could not follow: a row
// without a key is found by its place, which Citus's planner takes only of a local table.
void
Coordinator::CheckDistributedTables() {
    pg::Transaction transaction;
    std::set<std::string> distributed;
    for (const CopyTable &table : LoadTables(migration_.id)) {
        if (table.copy_data && table.replica_identity == 'f' &&
            stage::DistributionOf(table.target_schema, table.target_name).kind !=
                stage::Distribution::Kind::kLocal) {
            distributed.insert(QualifiedName(table.target_schema, table.target_name));
        }
    }
    transaction.Commit();
    std::string names;
    std::string fix;
    for (const std::string &name : distributed) {
        names += (names.empty() ? "" : ", ") + name;
        fix += "SELECT pg_catalog.undistribute_table(" + QuoteLiteral(name) + "); ";
    }
    if (!names.empty()) {
        throw Error(sqlstate::kFeatureNotSupported,
                    "changes to distributed tables with REPLICA IDENTITY FULL cannot be applied")
            .Detail("They are: " + names +
                    ". Give them a primary key on the source and start over to have them "
                    "distributed now; or distribute them after the migration.")
            .Hint(fix + "SELECT livemigrate.migration_resume();");
    }
}

// Each time that tables begin to be copied or changes to be applied: the target's partitions are
// what the user has made of them.
void
Coordinator::RouteRows() {
    AskForBounds();
    pg::Transaction transaction;
    const bool is_new = RoutePartitions(migration_.id) > 0;
    if (is_new && migration_.stage == Stage::kData && HasParts(migration_.id)) {
        ThrowRearrangedLate();
    }
    const std::map<int32_t, RoutedPartition> routed = RoutedPartitions(migration_.id);
    std::map<Name, size_t> counts;
    std::vector<CopyTable> unsafe;
    for (const CopyTable &table :
         routed.empty() ? std::vector<CopyTable>() : LoadTables(migration_.id)) {
        const auto found = routed.find(table.id);
        if (found == routed.end()) {
            continue;
        }
        counts[{table.root_schema, table.root_name}]++;
        if (!found->second.left_out.empty()) {
            ThrowLeftOut(table, found->second.left_out);
        }
        if (!found->second.key_suffices && table.copy_data && table.identity_usable &&
            !IsInsertOnlyAccepted(migration_.settings, table)) {
            unsafe.push_back(table);
        }
    }
    if (!unsafe.empty()) {
        ThrowAmbiguous(unsafe);
    }
    for (const auto &[root, count] : counts) {
        if (is_new) {
            const std::string name = QualifiedName(root.first, root.second);
            RecordEvent(migration_.id, "notice", migration_.stage,
                        "the rows of " + Counted(count, "partition") + " of " + name +
                            " go through it: it has not the same partitions on the target");
        }
    }
    transaction.Commit();
    AskForConditions();
}

// Partitions that were the same when rows were first written to them may differ from what is known
// of the source because both sides were changed alike since.
void
Coordinator::AskForBounds() {
    std::set<uint32_t> wanted;
    {
        pg::Transaction transaction;
        if (migration_.stage != Stage::kData || HasParts(migration_.id)) {
            wanted = PartitionsToAskFor(migration_.id);
        }
        transaction.Commit();
    }
    if (wanted.empty()) {
        return;
    }
    source::Connection source =
        source::Connection::Open(migration_.settings.source, source::ConnectionKind::kSql);
    auto partitions = source::ListPartitions(source, WatchLocks(source, "asking for bounds"));
    std::erase_if(partitions, [&](const auto &one) { return !wanted.contains(one.first); });
    pg::Transaction transaction;
    SetBounds(migration_.id, partitions);
    transaction.Commit();
}

void
Coordinator::AskForConditions() {
    bool wanted = false;
    {
        pg::Transaction transaction;
        wanted = !PartitionsWithoutCondition(migration_.id).empty();
        transaction.Commit();
    }
    if (wanted) {
        source::Connection source =
            source::Connection::Open(migration_.settings.source, source::ConnectionKind::kSql);
        KeepConditions(migration_.id, source, WatchLocks(source, "asking for bounds"));
    }
}

} // namespace livemigrate::control
