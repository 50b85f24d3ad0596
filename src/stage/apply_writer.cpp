#include "pg/prelude.hpp"

#include "stage/apply_writer.hpp"

#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/partition_routing.hpp"
#include "pg/subtransaction.hpp"
#include "pg/table_manager.hpp"
#include "pg/table_owner.hpp"

#include <algorithm>
#include <memory_resource>
#include <optional>
#include <set>

namespace livemigrate::stage {

namespace {

using Item = ChangeBatch::Item;

const char *
CommandName(ChangeKind kind) {
    switch (kind) {
    case ChangeKind::kInsert:
        return "INSERT";
    case ChangeKind::kUpdate:
        return "UPDATE";
    case ChangeKind::kDelete:
        return "DELETE";
    default:
        return "TRUNCATE";
    }
}

// Foreign keys may not let each be truncated as its owner, and as ourselves their triggers must not
// run.
[[noreturn]] void
ThrowManyOwners(const std::string &names) {
    throw Error(sqlstate::kFeatureNotSupported,
                "cannot truncate tables of several owners at once: a trigger of theirs fires")
        .Detail("The tables are " + names + ".")
        .Hint("Give them one owner on the target with ALTER TABLE ... OWNER TO, or disable the "
              "triggers that are ENABLE ALWAYS or ENABLE REPLICA; then run: SELECT "
              "livemigrate.migration_resume();");
}

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

using Relations = std::vector<std::shared_ptr<const RemoteRelation>>;

std::string
NamesOf(const Relations &relations) {
    std::string names;
    for (const auto &relation : relations) {
        names += (names.empty() ? "" : ", ") + QualifiedName(relation->schema, relation->name);
    }
    return names;
}

// Whether the truncated relations are all of the table that the rows of one are routed through: it
// is among them, or, as pgoutput has it, all of its partitions are.
bool
TruncatesWhole(const Relations &relations, const TargetRelation &target) {
    std::set<std::string> names;
    for (const auto &relation : relations) {
        names.insert(QualifiedName(relation->schema, relation->name));
    }
    const auto is_truncated = [&](const std::string &name) { return names.contains(name); };
    const std::vector<std::string> leaves = pg::LeafPartitions(target.relid());
    return is_truncated(target.target_name()) ||
           std::all_of(leaves.begin(), leaves.end(), is_truncated);
}

} // namespace

// How a table of the stream is written on the target.
struct ApplyWriter::Table {
    TargetRelation sql;
    std::unique_ptr<BatchTable> batch; // null: change by change only

    Table(std::shared_ptr<const RemoteRelation> remote, const ValueFormat &format)
        : sql(std::move(remote), format) {
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

ApplyWriter::ApplyWriter(const ValueFormat &format, ApplyFailure &failure)
    : format_(format), failure_(failure) {}

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
        table = std::make_unique<Table>(remote, format_);
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

uint64_t
ApplyWriter::WriteRows(const ChangeBatch &batch, Items items) {
    if (TryNetEffect(batch, items)) {
        return 0;
    }
    for (const Item &item : items) {
        WriteRow(batch, item);
    }
    return items.size();
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
        group.table->batch->Write(*group.effect);
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
    try {
        switch (item.row.kind) {
        case ChangeKind::kInsert:
            return table.Insert(item.row);
        case ChangeKind::kUpdate:
            return table.Update(item.row);
        default:
            return table.Delete(item.row);
        }
    } catch (const Error &error) {
        failure_.Set(CommandName(item.row.kind), item, table.ShowKey(item.row));
        throw failure_.Describe(error);
    }
}

void
ApplyWriter::Truncate(const ChangeBatch &batch, const Item &item) {
    const ChangeBatch::Truncation &truncation = batch.truncation(item);
    const auto &relations = truncation.relations;
    try {
        std::vector<Oid> tables;
        std::set<Oid> owners;
        bool fires_triggers = false;
        for (const auto &relation : relations) {
            const TargetRelation &target = Find(relation).sql;
            if (target.is_routed() && !TruncatesWhole(relations, target)) {
                throw Error(sqlstate::kFeatureNotSupported,
                            "cannot truncate one partition of a table that is partitioned by the "
                            "hash of an enum")
                    .Detail("Its rows lie in other partitions on the target.")
                    .Hint("Delete the rows on the target by hand, then run: SELECT "
                          "livemigrate.migration_resume();");
            }
            if (std::find(tables.begin(), tables.end(), target.relid()) == tables.end()) {
                tables.push_back(target.relid());
                owners.insert(target.owner());
                fires_triggers = fires_triggers || target.fires_triggers();
            }
        }
        if (owners.size() > 1 && fires_triggers) {
            ThrowManyOwners(NamesOf(relations));
        }
        // A foreign key of a partitioned table is also the root's, which the stream does not name.
        for (const Oid root : pg::RootsOfWhole(tables)) {
            tables.push_back(root);
            owners.insert(pg::OwnerToWriteAs(root));
        }
        // The owner need not have rights on the schema, and only triggers run code of the table's.
        const Oid role = owners.size() == 1 ? *owners.begin() : InvalidOid;
        const bool as_owner =
            OidIsValid(role) &&
            (fires_triggers || std::all_of(tables.begin(), tables.end(), [&](Oid table) {
                 return pg::MayUseSchemaOf(table, role);
             }));
        const pg::AsOwner owner(as_owner ? role : InvalidOid);
        pg::TruncateTables(tables, truncation.restart_identity);
    } catch (const Error &error) {
        failure_.Set(*relations.front(), CommandName(ChangeKind::kTruncate), item.transaction);
        throw failure_.Describe(error);
    }
}

} // namespace livemigrate::stage
