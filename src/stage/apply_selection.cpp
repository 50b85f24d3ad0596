#include "pg/prelude.hpp"

#include "stage/apply_selection.hpp"

#include "core/error.hpp"
#include "core/sql_text.hpp"
#include "pg/spi.hpp"
#include "pg/transaction.hpp"
#include "stage/followed_columns.hpp"

#include <algorithm>

namespace livemigrate::stage {

namespace {

// Descriptions of tables that are kept: a stream that describes them anew all the time must not
// fill the memory.
constexpr size_t kMostDescribed = 10'000;

// What belongs to the server, and to ourselves: wal2json sends changes of all tables, and these are
// on the target under the same names.
bool
IsServers(std::string_view schema) {
    return schema.starts_with("pg_") || schema == "information_schema" || schema == "livemigrate";
}

} // namespace

ApplySelection::ApplySelection(const std::vector<CopyTable> &tables, const ColumnsById &columns,
                               const TableFilter &filter)
    : filter_(filter), columns_(columns) {
    for (const CopyTable &table : tables) {
        tables_[{table.schema, table.name}] = &table;
    }
}

ApplySelection::Choice
ApplySelection::Of(const std::shared_ptr<const RemoteRelation> &relation, Lsn commit_lsn) {
    const Described &one = Find(relation);
    // Rows copied under a later snapshot have this transaction's effects already.
    const bool is_written = one.choice != Choice::kPassOver && one.choice != Choice::kUnknown;
    return is_written && one.snapshot_lsn.valid() && commit_lsn < one.snapshot_lsn ? Choice::kCopied
                                                                                   : one.choice;
}

const ApplySelection::Described &
ApplySelection::Find(const std::shared_ptr<const RemoteRelation> &relation) {
    if (last_ != nullptr && last_->relation == relation) {
        return *last_;
    }
    auto found = described_.find(relation.get());
    if (found == described_.end()) {
        if (described_.size() >= kMostDescribed) {
            last_ = nullptr;
            described_.clear();
        }
        found = described_.emplace(relation.get(), Describe(relation)).first;
    }
    last_ = &found->second;
    return *last_;
}

ApplySelection::Described
ApplySelection::Describe(const std::shared_ptr<const RemoteRelation> &relation) const {
    const auto known = tables_.find({relation->schema, relation->name});
    if (known == tables_.end()) {
        const bool is_left_out =
            !filter_.Selects(relation->schema, relation->name) || IsServers(relation->schema);
        return {relation, is_left_out ? Choice::kPassOver : Choice::kUnknown, {}};
    }
    const CopyTable &table = *known->second;
    // A partitioned table comes along with its partitions in a TRUNCATE, from wal2json. They have
    // the rows, each with a snapshot of its own, and TRUNCATE of the whole would know no
    // difference.
    const Choice choice = table.relkind == 'p'                 ? Choice::kCopied
                          : table.copy_data && !table.replaced ? OfWritten(*relation, table)
                                                               : Choice::kPassOver;
    return {relation, choice, table.snapshot_lsn};
}

ApplySelection::Choice
ApplySelection::OfWritten(const RemoteRelation &relation, const CopyTable &table) const {
    if (relation.remote_id != 0 && relation.remote_id != table.source_oid &&
        !table.through_root()) {
        return Choice::kReplaced;
    }
    return ChangesOf(relation, table).empty() ? Choice::kApply : Choice::kChanged;
}

std::vector<ColumnChange>
ApplySelection::ChangesOf(const RemoteRelation &relation, const CopyTable &table) const {
    const auto known = columns_.find(table.id);
    const bool tells_types = !relation.columns.empty() && relation.columns[0].type_oid != 0;
    return known != columns_.end() && tells_types
               ? FindColumnChanges(known->second, relation.columns)
               : std::vector<ColumnChange>();
}

const CopyTable &
ApplySelection::TableOf(const RemoteRelation &relation) const {
    return *tables_.at({relation.schema, relation.name});
}

std::vector<ColumnChange>
ApplySelection::NotFollowed(const std::shared_ptr<const RemoteRelation> &relation) {
    pg::OpenOrOwnTransaction transaction;
    const CopyTable &table = TableOf(*relation);
    std::vector<ColumnChange> changes =
        stage::NotFollowed(table.target_schema, table.target_name, ChangesOf(*relation, table));
    transaction.Commit();
    // Rows need not wait for a column that only the target still has, and those of the transaction
    // that dropped it may need it: the cutover asks for it.
    if (std::all_of(changes.begin(), changes.end(), [](const ColumnChange &change) {
            return change.kind == ColumnChange::Kind::kDropped;
        })) {
        Find(relation);
        described_.at(relation.get()).choice = Choice::kApply;
        changes.clear();
    }
    return changes;
}

bool
ApplySelection::AcceptUnknown(const RemoteRelation &relation) {
    const Name name = {relation.schema, relation.name};
    if (accepted_.contains(name)) {
        return true;
    }
    pg::OpenOrOwnTransaction transaction;
    // One that is an extension's on the target is not the one that was created on the source.
    const bool exists = pg::Query("SELECT pg_catalog.to_regclass($1) IS NOT NULL AND NOT EXISTS ("
                                  "SELECT FROM pg_catalog.pg_depend "
                                  "WHERE classid = 'pg_catalog.pg_class'::pg_catalog.regclass "
                                  "AND objid = pg_catalog.to_regclass($1)::oid AND deptype = 'e')",
                                  {QualifiedName(relation.schema, relation.name)})
                            .Scalar() == "t";
    transaction.Commit();
    if (exists) {
        accepted_.insert(name);
    }
    return exists;
}

void
ApplySelection::ThrowUnknown(const RemoteRelation &relation, Lsn commit_lsn) {
    throw Error(sqlstate::kUndefinedTable,
                "table " + QualifiedName(relation.schema, relation.name) +
                    " was created on the source after the migration began")
        .Detail("The change stream has rows for it, first in the transaction that commits at " +
                commit_lsn.ToString() + ".")
        .Hint("Create it on the target as it is on the source, then run: SELECT "
              "livemigrate.migration_resume();");
}

bool
ApplySelection::GoesThroughRoot(const RemoteRelation &relation) const {
    const auto found = tables_.find({relation.schema, relation.name});
    return found != tables_.end() && found->second->through_root();
}

bool
ApplySelection::HasIdentityFull(std::string_view schema, std::string_view name) const {
    const auto found = tables_.find({std::string(schema), std::string(name)});
    return found != tables_.end() && found->second->replica_identity == 'f';
}

} // namespace livemigrate::stage
