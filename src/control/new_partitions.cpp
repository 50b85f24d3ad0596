#include "pg/prelude.hpp"

#include "control/new_partitions.hpp"

#include "control/table_selection.hpp"
#include "core/sql_text.hpp"
#include "pg/bounds_condition.hpp"
#include "pg/table_manager.hpp"
#include "pg/transaction.hpp"
#include "source/catalog_query.hpp"
#include "source/partitions.hpp"
#include "source/table_columns.hpp"
#include "stage/apply_routes.hpp"
#include "stage/followed_columns.hpp"

#include <algorithm>
#include <iterator>
#include <set>

namespace livemigrate::control {

namespace {

using Name = std::pair<std::string, std::string>;
using source::PartitionOrigin;
using source::SourcePartition;
using source::SourceTable;

CopyTable
AsTable(const SourceTable &found, int32_t id) {
    CopyTable table = CopyTableOf(found, id);
    table.bytes = 0; // to be copied
    table.pages = 0;
    table.rows_estimate = 0;
    table.state = "skipped"; // all of its rows are in the change stream
    return table;
}

// In the order of their names, since a partition may have other numbers.
std::vector<SourceColumn>
ByName(std::vector<SourceColumn> columns, const std::set<std::string> &names) {
    for (SourceColumn &column : columns) {
        column.number =
            static_cast<int16_t>(1 + std::distance(names.begin(), names.find(column.name)));
    }
    std::sort(columns.begin(), columns.end(),
              [](const auto &one, const auto &other) { return one.number < other.number; });
    return columns;
}

// What is known of the migration and of the source when a partition is met that nobody knew of.
struct Newcomers {
    const Migration &migration;
    std::vector<CopyTable> known;
    std::map<int32_t, std::vector<SourceColumn>> known_columns;

    std::vector<SourceTable> tables;
    std::map<uint32_t, SourcePartition> partitions;
    source::ColumnsByTable columns;
    source::PartitionOrigins origins;

    // Under the name that it had.
    const CopyTable *
    WithOid(uint32_t oid) const {
        const auto found = std::find_if(known.begin(), known.end(), [oid](const CopyTable &table) {
            return table.source_oid == oid;
        });
        return found == known.end() ? nullptr : &*found;
    }
    std::set<uint32_t>
    Oids() const {
        std::set<uint32_t> oids;
        for (const CopyTable &table : known) {
            oids.insert(table.source_oid);
        }
        return oids;
    }
    source::PartitionOrigin
    OriginOf(const SourceTable &one) const {
        return source::OriginOf(partitions, origins, Oids(), one.oid);
    }
    bool
    HasName(const SourceTable &one) const {
        return std::any_of(known.begin(), known.end(), [&](const CopyTable &table) {
            return table.schema == one.schema && table.name == one.name;
        });
    }
};

Newcomers
Find(const Migration &migration, source::Connection &source, const source::WaitObserver &observer) {
    source::OriginsKnown known{.accepted = {}, .recovery_mark = migration.source_recovery_mark};
    {
        pg::Transaction transaction;
        known.accepted = AcceptedPartitions(migration.id);
        transaction.Commit();
    }
    Newcomers all{.migration = migration,
                  .known = {},
                  .known_columns = {},
                  .tables = source::ListTables(source, source::TableSizes::kAsCounted),
                  .partitions = source::ListPartitions(source, observer),
                  .columns = source::ListColumns(source, observer),
                  .origins = source::ListOrigins(source, known, observer)};
    pg::Transaction transaction;
    all.known = LoadTables(migration.id);
    all.known_columns = LoadColumns(migration.id);
    transaction.Commit();
    return all;
}

// Whether the root on the target has what became of the columns since those beside it were copied.
bool
ColumnsFit(const Newcomers &all, const SourceTable &table, const SourcePartition &partition) {
    const CopyTable *before_rename = all.WithOid(table.oid);
    const auto beside =
        std::find_if(all.known.begin(), all.known.end(), [&](const CopyTable &other) {
            return other.relkind == 'r' && other.root_schema == partition.root_schema &&
                   other.root_name == partition.root_name && all.known_columns.contains(other.id) &&
                   (before_rename == nullptr || before_rename->id == other.id);
        });
    const auto columns = all.columns.find(table.oid);
    if (beside == all.known.end() || columns == all.columns.end()) {
        return true;
    }
    const std::vector<SourceColumn> &before = all.known_columns.at(beside->id);
    std::set<std::string> names;
    for (const auto *list : {&before, &columns->second}) {
        for (const SourceColumn &column : *list) {
            names.insert(column.name);
        }
    }
    pg::Transaction transaction;
    const std::vector<ColumnChange> left = stage::NotFollowed(
        partition.root_schema, partition.root_name,
        FindColumnChanges(ByName(before, names), ByName(columns->second, names)));
    transaction.Commit();
    return left.empty();
}

// Why the rows of a newcomer cannot go through the root; empty if they can.
std::string
WhyNot(const Newcomers &all, const SourceTable &table, const SourcePartition &partition) {
    if (!FilterOf(all.migration.settings).Selects(table.schema, table.name) ||
        DataExclusionOf(all.migration.settings).Selects(table.schema, table.name)) {
        return "It is left out of the migration.";
    }
    if (!partition.key_suffices && table.identity_usable &&
        !IsInsertOnlyAccepted(all.migration.settings, AsTable(table, 0))) {
        return "Its replica identity lacks the partition key.";
    }
    if (all.OriginOf(table) == PartitionOrigin::kAttached) {
        return "It was attached, and rows that it had before are not in the change stream.";
    }
    if (!ColumnsFit(all, table, partition)) {
        return "The target lacks what became of its columns.";
    }
    return "";
}

bool
IsOnTarget(const SourceTable &table) {
    pg::Transaction transaction;
    const bool found = OidIsValid(pg::FindTable(table.schema, table.name));
    transaction.Commit();
    return found;
}

void
Adopt(const Newcomers &all, const SourceTable &table, int32_t id) {
    const int32_t migration = all.migration.id;
    const SourcePartition &partition = all.partitions.at(table.oid);
    CopyTable adopted = AsTable(table, id);
    if (const CopyTable *before = all.WithOid(table.oid)) { // it was renamed
        adopted.snapshot_lsn = before->snapshot_lsn;
    }
    InsertTables(migration, {adopted});
    InsertPartitions(migration, {{table.oid, partition}});
    if (const auto columns = all.columns.find(table.oid); columns != all.columns.end()) {
        SetColumnsOf(migration, id, columns->second);
    }
    RecordEvent(migration, "notice", all.migration.stage,
                "partition " + QualifiedName(table.schema, table.name) +
                    " was created on the source: its rows go through " +
                    QualifiedName(partition.root_schema, partition.root_name));
}

std::set<Name>
RootsWithOtherPartitions(int32_t migration) {
    pg::Transaction transaction;
    std::set<Name> roots = LoadRearranged(migration).others;
    transaction.Commit();
    return roots;
}

} // namespace

bool
AdoptPartition(const Migration &migration, const std::string &schema, const std::string &table,
               uint32_t &unclear, const source::WaitObserver &observer) {
    const std::set<Name> others = RootsWithOtherPartitions(migration.id);
    if (others.empty()) {
        return false;
    }
    source::Connection source =
        source::Connection::Open(migration.settings.source, source::ConnectionKind::kSql);
    const Newcomers all = Find(migration, source, observer);
    const auto wanted =
        std::find_if(all.tables.begin(), all.tables.end(), [&](const SourceTable &one) {
            return one.schema == schema && one.name == table && one.relkind == 'r' &&
                   all.partitions.contains(one.oid);
        });
    if (wanted == all.tables.end()) {
        return false;
    }
    const SourcePartition &partition = all.partitions.at(wanted->oid);
    const Name root(partition.root_schema, partition.root_name);
    // What was renamed and has been written directly, maybe by another worker, still has to be.
    const CopyTable *before = all.WithOid(wanted->oid);
    if (!others.contains(root) || (before != nullptr && !before->through_root())) {
        return false;
    }
    if (const std::string why = WhyNot(all, *wanted, partition); !why.empty()) {
        throw stage::CannotGoThroughRoot({schema, table}, root, why);
    }
    if (all.OriginOf(*wanted) == PartitionOrigin::kUnclear) {
        unclear = wanted->oid;
        throw stage::UnclearPartition({schema, table}, root);
    }
    // And what is like it, so that apply does not have to begin again for each.
    std::vector<const SourceTable *> adopted = {&*wanted};
    for (const SourceTable &one : all.tables) {
        const auto found = all.partitions.find(one.oid);
        // Nothing of an unlogged one is in the stream.
        if (&one != &*wanted && one.relkind == 'r' && one.persistence != 'u' &&
            found != all.partitions.end() && found->second.root_schema == root.first &&
            found->second.root_name == root.second && !all.HasName(one) &&
            all.WithOid(one.oid) == nullptr && !IsOnTarget(one) &&
            WhyNot(all, one, found->second).empty() &&
            all.OriginOf(one) == PartitionOrigin::kCreated) {
            adopted.push_back(&one);
        }
    }
    {
        pg::Transaction transaction;
        int32_t id = all.known.back().id;
        const int32_t first = id + 1;
        for (const SourceTable *one : adopted) {
            Adopt(all, *one, ++id);
        }
        RoutePartitions(migration.id, first);
        transaction.Commit();
    }
    KeepConditions(migration.id, source, observer);
    return true;
}

void
KeepConditions(int32_t id, source::Connection &source, const source::WaitObserver &observer) {
    std::map<int32_t, uint32_t> wanted;
    {
        pg::Transaction transaction;
        wanted = PartitionsWithoutCondition(id);
        transaction.Commit();
    }
    if (wanted.empty()) {
        return;
    }
    std::vector<uint32_t> oids;
    for (const auto &[table, oid] : wanted) {
        oids.push_back(oid);
    }
    const auto found = source::PartitionConditions(source, oids, observer);
    pg::Transaction transaction;
    std::map<int32_t, std::string> conditions;
    for (const auto &[table, oid] : wanted) {
        const std::string &condition = found.at(oid);
        const bool holds = !condition.empty() && pg::IsBoundsCondition(condition);
        conditions[table] = holds ? condition : "";
    }
    SetPartitionConditions(id, conditions);
    transaction.Commit();
}

} // namespace livemigrate::control
