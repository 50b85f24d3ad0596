// NOTES
//   The source is asked for what its tables are now, the stream tells what they were. Their OIDs
//   stay, so pgoutput's are gone by; wal2json tells names only, and what has changed its name is
//   not taken for what had it.
//
//   The stream names no unlogged partition, whether the statement does or not. Where the others'
//   rows can be told by their bounds, those of an unlogged one stay; else they go along.
#include "stage/apply_routed_truncation.hpp"

#include "core/error.hpp"
#include "pg/partition_routing.hpp"

#include <algorithm>

namespace livemigrate::stage {

namespace {

using source::RootOnSource;

bool
HasName(const CopyTable &table, const RoutedTruncation::Name &name) {
    return table.schema == name.first && table.name == name.second;
}

} // namespace

RoutedTruncation::RoutedTruncation(const ApplyRoutes &routes,
                                   const ChangeBatch::Truncation &truncation,
                                   const NotStreamed &not_streamed, Lsn commit_lsn)
    : routes_(routes), not_streamed_(not_streamed), commit_lsn_(commit_lsn) {
    for (const auto &relation : truncation.relations) {
        names_.emplace(relation->schema, relation->name);
        if (relation->remote_id != 0) {
            oids_.insert(relation->remote_id);
        }
    }
}

// The detail tells what can be done, besides passing over the transaction.
void
RoutedTruncation::ThrowPartOfTable(const std::string &why) {
    throw Error(sqlstate::kFeatureNotSupported,
                "cannot truncate one partition of a table whose rows lie in other partitions on "
                "the target")
        .Detail(why + " If the transaction does nothing else, the rows can be deleted on the "
                      "target by hand, and the transaction be passed over.");
}

bool
RoutedTruncation::IsTruncated(uint32_t oid, const Name &name) const {
    return oids_.empty() ? names_.contains(name) : oids_.contains(oid);
}

bool
RoutedTruncation::IsTruncated(uint32_t oid, const Leaf &leaf,
                              const std::vector<const CopyTable *> &beside) const {
    const Name name(leaf.schema, leaf.name);
    const bool is_another =
        oids_.empty() && std::any_of(beside.begin(), beside.end(), [&](const CopyTable *table) {
            return HasName(*table, name) && table->source_oid != oid;
        });
    return !is_another && IsTruncated(oid, name);
}

bool
RoutedTruncation::IsAsItWas(const CopyTable &table, const RootOnSource &now) const {
    const auto leaf = now.leaves.find(table.source_oid);
    return leaf != now.leaves.end() && leaf->second.bounds == table.bounds &&
           (oids_.empty() ? HasName(table, {leaf->second.schema, leaf->second.name})
                          : oids_.contains(table.source_oid));
}

// What was detached has its rows still: on the source elsewhere, here among the others.
void
RoutedTruncation::CheckDetached(const std::vector<const CopyTable *> &beside,
                                const RootOnSource &now) const {
    for (const CopyTable *table : beside) {
        const auto name = now.tables.find(table->source_oid);
        const auto leaf = now.leaves.find(table->source_oid);
        if (name != now.tables.end() && !IsTruncated(table->source_oid, name->second) &&
            (leaf == now.leaves.end() || leaf->second.bounds != table->bounds)) {
            ThrowPartOfTable("Of the source's partitions beside it one was detached, or given "
                             "other bounds, and its rows are among them.");
        }
    }
}

// Empty if the table's rows can be told from the others of the root.
std::string
RoutedTruncation::WhyNotByCondition(const CopyTable &table, const RootOnSource &now) const {
    if (!IsAsItWas(table, now)) {
        return "On the source it is no longer the partition that it was.";
    }
    if (table.partition_condition.empty()) {
        return "It is partitioned by hash, by the order of text or by an expression, or the "
               "partition is the default one; and the source has others beside those that were "
               "truncated.";
    }
    return "";
}

void
RoutedTruncation::Add(Oid root, const std::vector<const CopyTable *> &tables,
                      Emptied &emptied) const {
    const RootOnSource now = routes_.RootNow(*tables.front(), pg::LeafPartitions(root));
    const std::vector<const CopyTable *> &beside = routes_.PartitionsBeside(*tables.front());
    CheckDetached(beside, now);

    std::set<Name> others = now.names;
    bool all = true;
    bool goes_along = false; // an unlogged one, if all of the others go
    for (const auto &[oid, leaf] : now.leaves) {
        const Name name(leaf.schema, leaf.name);
        others.erase(name);
        if (!leaf.is_unlogged) {
            all = all && IsTruncated(oid, leaf, beside);
            continue;
        }
        if (const auto copied = not_streamed_.find(name); copied != not_streamed_.end()) {
            const bool later = copied->second.valid() && copied->second > commit_lsn_;
            all = all && !later;
            goes_along = goes_along || !later;
        }
    }
    all = all && std::all_of(others.begin(), others.end(),
                             [this](const Name &name) { return names_.contains(name); });

    const auto obstacle = std::find_if(tables.begin(), tables.end(), [&](const CopyTable *table) {
        return !WhyNotByCondition(*table, now).empty();
    });
    if (all && (!goes_along || obstacle != tables.end())) {
        emptied.tables.push_back(root);
        return;
    }
    if (obstacle != tables.end()) {
        ThrowPartOfTable(WhyNotByCondition(**obstacle, now));
    }
    for (const CopyTable *table : tables) {
        emptied.parts.emplace_back(root, table->partition_condition);
    }
}

} // namespace livemigrate::stage
