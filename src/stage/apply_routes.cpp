#include "stage/apply_routes.hpp"

#include "core/sql_text.hpp"

namespace livemigrate::stage {

Error
CannotGoThroughRoot(const source::RootOnSource::Name &partition,
                    const source::RootOnSource::Name &root, const std::string &why) {
    const std::string name = QualifiedName(root.first, root.second);
    return Error(sqlstate::kFeatureNotSupported,
                 "the rows of partition " + QualifiedName(partition.first, partition.second) +
                     ", which the source has since the migration began, cannot go through " + name)
        .Detail(why + " The target has not the same partitions of " + name + " as the source.")
        .Hint("Where it can be mended on the target, do that and run: SELECT "
              "livemigrate.migration_resume(); otherwise start over: SELECT "
              "livemigrate.migration_abort();");
}

Error
UnclearPartition(const source::RootOnSource::Name &partition,
                 const source::RootOnSource::Name &root) {
    return Error(sqlstate::kObjectNotInPrerequisiteState,
                 "whether partition " + QualifiedName(partition.first, partition.second) +
                     ", which the source has since the migration began, was attached to " +
                     QualifiedName(root.first, root.second) + " cannot be told")
        .Detail("The source may have recovered from a crash since, or a change of it was rolled "
                "back. If one transaction made it, inserted rows and attached it, or a table above "
                "it, these rows are not in the change stream.")
        .Hint("If it was created as a partition, or had no rows when it was attached, run: SELECT "
              "livemigrate.migration_resume(); otherwise start over: SELECT "
              "livemigrate.migration_abort();");
}

ApplyRoutes::ApplyRoutes(const std::vector<CopyTable> &tables, AskAboutRoot ask)
    : ask_(std::move(ask)) {
    for (const CopyTable &table : tables) {
        if (!table.root_name.empty()) {
            known_[{table.root_schema, table.root_name}].insert(table.source_oid);
        }
        if (table.relkind != 'r' || table.root_name.empty()) {
            continue;
        }
        if (!table.copy_data) {
            left_out_.emplace(table.schema, table.name);
        }
        partitions_[{table.root_schema, table.root_name}].push_back(&table);
        if (table.through_root()) {
            routed_[{table.schema, table.name}] = &table;
        }
    }
}

const CopyTable *
ApplyRoutes::Routed(const RemoteRelation &relation) const {
    const auto found = routed_.find({relation.schema, relation.name});
    return found == routed_.end() ? nullptr : found->second;
}

ApplyRoutes::Name
ApplyRoutes::TargetOf(const RemoteRelation &relation) {
    const CopyTable *table = Routed(relation);
    if (table != nullptr) {
        CheckReplaced(relation, *table);
    }
    return table == nullptr ? Name(relation.schema, relation.name)
                            : Name(table->target_schema, table->target_name);
}

// Only pgoutput tells which table of the name it is. Of one that is no partition any more no row is
// missed: those that came go by the stream, the others are not the root's.
void
ApplyRoutes::CheckReplaced(const RemoteRelation &relation, const CopyTable &table) {
    const uint32_t oid = relation.remote_id;
    const Name root(table.root_schema, table.root_name);
    const std::set<uint32_t> &known = known_.at(root);
    if (oid == 0 || known.contains(oid) || checked_.contains(oid)) {
        return;
    }
    const source::RootOnSource now = ask_(root, known, {});
    const auto origin = now.origins.find(oid);
    if (origin != now.origins.end() && origin->second == source::PartitionOrigin::kUnclear) {
        unclear_ = oid;
        throw UnclearPartition({table.schema, table.name}, root);
    }
    if (origin != now.origins.end() && origin->second == source::PartitionOrigin::kAttached) {
        throw CannotGoThroughRoot({table.schema, table.name}, root,
                                  "It took the place of another and was attached, and rows that it "
                                  "had before are not in the change stream.");
    }
    checked_.insert(oid);
}

const std::vector<const CopyTable *> &
ApplyRoutes::PartitionsBeside(const CopyTable &table) const {
    return partitions_.at({table.root_schema, table.root_name});
}

source::RootOnSource
ApplyRoutes::RootNow(const CopyTable &table, const std::vector<Name> &names) const {
    const Name root(table.root_schema, table.root_name);
    return ask_(root, known_.at(root), names);
}

} // namespace livemigrate::stage
