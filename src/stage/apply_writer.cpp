#include "pg/prelude.hpp"

#include "stage/apply_writer.hpp"

#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/partition_routing.hpp"
#include "pg/replica_role.hpp"
#include "pg/subtransaction.hpp"
#include "pg/table_owner.hpp"
#include "pg/truncation.hpp"

#include <algorithm>
#include <memory_resource>
#include <optional>
#include <set>

namespace livemigrate::stage {

namespace {

using Item = ChangeBatch::Item;

// Whether going through the changes one by one may help, or at least tell which it is: not where
// the session, its transaction or the machine is in trouble.
bool
IsAboutRows(const Error &error) {
    const std::string_view state = error.sqlstate();
    for (std::string_view other : {"08", "25", "40", "53", "57", "58", "XX"}) {
        if (state.starts_with(other)) {
            return false;
        }
    }
    return true;
}

using Names = ApplyWriter::Names;

// Tables that a TRUNCATE that commits there has emptied without the stream saying so, if it has
// them: rows copied under a later snapshot came after it.
Names
CopiedBefore(const ApplyWriter::NotStreamed &tables, Lsn commit_lsn) {
    Names names;
    for (const auto &[name, snapshot_lsn] : tables) {
        if (!snapshot_lsn.valid() || snapshot_lsn <= commit_lsn) {
            names.insert(name);
        }
    }
    return names;
}

} // namespace

// How a table of the stream is written on the target.
struct ApplyWriter::Table {
    TargetRelation sql;
    std::unique_ptr<BatchTable> batch; // null: change by change only

    Table(std::shared_ptr<const RemoteRelation> remote, ApplyRoutes::Name target,
          const ValueFormat &format)
        : sql(std::move(remote), std::move(target), format) {
        if (!sql.is_ignored() && !sql.is_routed() && !sql.fires_triggers()) {
            batch = PlainTable::Open(sql.relid(), sql.remote(), format);
            if (!batch) {
                batch = ManagedTable::Open(sql.relid(), sql.remote(), format);
            }
        }
    }
};

// What a batch has for one table.
struct ApplyWriter::Group {
    Table *table = nullptr;
    std::optional<NetEffect> effect; // where the table takes it
    std::vector<const Item *> items; // for the others
};

ApplyWriter::ApplyWriter(const ValueFormat &format, NotStreamed not_streamed,
                         LossyColumns lossy_columns, ApplyRoutes routes, ApplyFailure &failure)
    : format_(format), not_streamed_(std::move(not_streamed)),
      lossy_columns_(std::move(lossy_columns)), routes_(std::move(routes)), failure_(failure) {}

ApplyWriter::~ApplyWriter() = default;

ApplyWriter::Table &
ApplyWriter::Find(const std::shared_ptr<const RemoteRelation> &remote) {
    std::unique_ptr<Table> &table = tables_[remote.get()];
    if (table) {
        // Taking the lock is when a change of the table's definition is heard of.
        pg::Call([&] { LockRelationOid(table->sql.relid(), RowExclusiveLock); });
    }
    if (!table || !table->sql.is_valid()) {
        table.reset();
        auto found = std::make_unique<Table>(remote, routes_.TargetOf(*remote), format_);
        lossy_columns_.Check(*remote, found->sql.relid());
        table = std::move(found);
    }
    return *table;
}

// Find() for a change that errors should name.
ApplyWriter::Table &
ApplyWriter::FindFor(const ChangeBatch &batch, const Item &item) {
    try {
        return Find(batch.relation(item));
    } catch (const Error &error) {
        failure_.Set(*item.row.relation, CommandName(item.row.kind), item.transaction);
        failure_.unclear_partition = routes_.TakeUnclear();
        throw failure_.Describe(error);
    }
}

uint64_t
ApplyWriter::Write(const ChangeBatch &batch, Items items) {
    uint64_t in_source_order = 0;
    while (!items.empty()) {
        const auto truncate = std::find_if(items.begin(), items.end(), [](const Item &item) {
            return item.row.kind == ChangeKind::kTruncate;
        });
        const auto rows = static_cast<size_t>(truncate - items.begin());
        if (rows > 0) {
            in_source_order += WriteRows(batch, items.first(rows));
        }
        items = items.subspan(rows);
        if (!items.empty()) {
            Truncate(batch, items.front());
            items = items.subspan(1);
        }
    }
    return in_source_order;
}

void
ApplyWriter::Refuse(const ChangeBatch &batch, const Item &item, const Error &error) {
    TargetRelation &table = FindFor(batch, item).sql;
    failure_.Set(CommandName(item.row.kind), item, table.ShowKey(item.row));
    throw failure_.Describe(error);
}

uint64_t
ApplyWriter::WriteRows(const ChangeBatch &batch, Items items) {
    FireBefore(items.front());
    if (TryNetEffect(batch, items)) {
        return 0;
    }
    for (const Item &item : items) {
        FireBefore(item);
        WriteRow(batch, item);
    }
    return items.size();
}

void
ApplyWriter::BeginTarget() {
    fired_.reset();
}

void
ApplyWriter::FireBefore(const Item &item) {
    if (fired_ && fired_->transaction.commit_lsn != item.transaction.commit_lsn) {
        FireDeferred();
    }
}

void
ApplyWriter::FireDeferred() {
    if (!fired_) {
        return;
    }
    try {
        pg::FireDeferredTriggers();
    } catch (const Error &error) {
        failure_.Set(*fired_->relation, "COMMIT", fired_->transaction);
        throw failure_.Describe(error);
    }
    fired_.reset();
}

// False, with nothing written, if the changes must be written in source order.
bool
ApplyWriter::TryNetEffect(const ChangeBatch &batch, Items items) {
    std::pmr::monotonic_buffer_resource memory(64 << 10);
    std::vector<Group> groups;
    try {
        pg::Subtransaction part;
        if (!Gather(batch, items, groups, &memory)) {
            return false;
        }
        for (Group &group : groups) {
            WriteGroup(batch, group);
        }
        part.Commit();
        return true;
    } catch (const Error &error) {
        if (!IsAboutRows(error)) {
            throw;
        }
        failure_ = {};
        return false;
    }
}

bool
ApplyWriter::Gather(const ChangeBatch &batch, Items items, std::vector<Group> &groups,
                    std::pmr::memory_resource *memory) {
    std::unordered_map<const RemoteRelation *, size_t> by_relation;
    std::set<Oid> seen;
    const RemoteRelation *last = nullptr;
    size_t current = 0;
    for (const Item &item : items) {
        if (item.row.relation != last) {
            last = item.row.relation;
            const auto [found, is_new] = by_relation.try_emplace(last, groups.size());
            current = found->second;
            if (is_new) {
                Table *table = &FindFor(batch, item);
                // Described anew in between: what was before must be written first.
                if (!seen.insert(table->sql.relid()).second || table->sql.fires_triggers()) {
                    return false;
                }
                Group &group = groups.emplace_back();
                group.table = table;
                if (table->batch) {
                    group.effect.emplace(*last, memory);
                }
            }
        }
        Group &group = groups[current];
        if (!group.effect) {
            group.items.push_back(&item);
        } else if (!group.effect->Add(item.row) ||
                   (item.row.kind != ChangeKind::kInsert && !group.table->batch->finds_rows())) {
            return false;
        }
    }
    return true;
}

void
ApplyWriter::WriteGroup(const ChangeBatch &batch, Group &group) {
    if (group.effect) {
        const pg::AsOwner owner(group.table->sql.owner());
        TargetRelation &table = group.table->sql;
        group.table->batch->Write(*group.effect,
                                  [&table](const RowChange &change) { table.Write(change); });
        return;
    }
    for (const Item *item : group.items) {
        WriteRow(batch, *item);
    }
}

// Says in errors which change of the stream they are about.
void
ApplyWriter::WriteRow(const ChangeBatch &batch, const Item &item) {
    TargetRelation &table = FindFor(batch, item).sql;
    if (table.is_ignored()) {
        return;
    }
    if (table.fires_triggers()) {
        fired_ = {batch.relation(item), item.transaction};
    }
    try {
        table.Write(item.row);
    } catch (const Error &error) {
        failure_.Set(CommandName(item.row.kind), item, table.ShowKey(item.row));
        throw failure_.Describe(error);
    }
}

// Returns whether rows were deleted, for which triggers may have fired.
bool
ApplyWriter::TruncateAll(const ChangeBatch::Truncation &truncation, Lsn commit_lsn) {
    Names truncated;
    for (const auto &relation : truncation.relations) {
        truncated.emplace(relation->schema, relation->name);
    }
    const Names unnamed = CopiedBefore(not_streamed_, commit_lsn);
    const RoutedTruncation parts(routes_, truncation, not_streamed_, commit_lsn);
    Emptied emptied;
    std::map<Oid, std::vector<const CopyTable *>> routed;
    for (const auto &relation : truncation.relations) {
        const TargetRelation &target = Find(relation).sql;
        if (const CopyTable *table = routes_.Routed(*relation)) {
            routed[target.relid()].push_back(table);
            continue;
        }
        if (target.is_routed()) {
            // The stream does not name unlogged ones, whose rows it does not follow either.
            const auto leaves = pg::LeafPartitions(target.relid());
            if (!std::all_of(leaves.begin(), leaves.end(), [&](const auto &leaf) {
                    return truncated.contains(leaf) ||
                           (unnamed.contains(leaf) && !routes_.IsLeftOut(leaf));
                })) {
                RoutedTruncation::ThrowPartOfTable(
                    "It is partitioned by the hash of an enum, or of a value that has "
                    "one in it, or by a nondeterministic collation.");
            }
        }
        if (std::find(emptied.tables.begin(), emptied.tables.end(), target.relid()) ==
            emptied.tables.end()) {
            emptied.tables.push_back(target.relid());
        }
    }
    for (const auto &[root, tables] : routed) {
        parts.Add(root, tables, emptied);
    }
    if (!emptied.tables.empty()) {
        const std::vector<Oid> along = pg::TruncatedAlong(emptied.tables, unnamed);
        emptied.tables.insert(emptied.tables.end(), along.begin(), along.end());
        pg::TruncateTables(emptied.tables, truncation.restart_identity);
    }
    for (const auto &[table, condition] : emptied.parts) {
        pg::DeleteRows(table, condition);
    }
    return !emptied.parts.empty();
}

void
ApplyWriter::Truncate(const ChangeBatch &batch, const Item &item) {
    const ChangeBatch::Truncation &truncation = batch.truncation(item);
    FireBefore(item);
    try {
        if (TruncateAll(truncation, item.transaction.commit_lsn)) {
            fired_ = {truncation.relations.front(), item.transaction};
        }
    } catch (const Error &error) {
        failure_.Set(*truncation.relations.front(), CommandName(ChangeKind::kTruncate),
                     item.transaction);
        failure_.unclear_partition = routes_.TakeUnclear();
        throw failure_.Describe(error);
    }
}

} // namespace livemigrate::stage
