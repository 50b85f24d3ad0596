#include "stage/index_partitions.hpp"

#include "core/sql_text.hpp"

namespace livemigrate::stage {

namespace {

using Name = RearrangedTables::Name;

Name
NameOf(const RangeVar *relation) {
    return {relation->schemaname == nullptr ? "" : relation->schemaname, relation->relname};
}

const AlterTableCmd *
FirstCommand(const AlterTableStmt *alter) {
    return static_cast<const AlterTableCmd *>(linitial(alter->cmds));
}

// The index that ALTER INDEX attaches to another one; null if it does something else.
const RangeVar *
AttachedIndex(const AlterTableStmt *alter) {
    const AlterTableCmd *command = FirstCommand(alter);
    return command->subtype == AT_AttachPartition
               ? reinterpret_cast<const PartitionCmd *>(command->def)->name
               : nullptr;
}

const Constraint *
AddedConstraint(const AlterTableStmt *alter) {
    const AlterTableCmd *command = FirstCommand(alter);
    return command->subtype == AT_AddConstraint && command->def != nullptr &&
                   IsA(command->def, Constraint)
               ? reinterpret_cast<const Constraint *>(command->def)
               : nullptr;
}

bool
HasIndex(const Constraint *constraint) {
    return constraint->conname != nullptr &&
           (constraint->contype == CONSTR_PRIMARY || constraint->contype == CONSTR_UNIQUE ||
            constraint->contype == CONSTR_EXCLUSION);
}

// The index that ALTER TABLE names: as the replica identity, or to cluster by.
const char *
NamedIndex(const AlterTableStmt *alter) {
    const AlterTableCmd *command = FirstCommand(alter);
    switch (command->subtype) {
    case AT_ReplicaIdentity:
        return reinterpret_cast<const ReplicaIdentityStmt *>(command->def)->name;
    case AT_ClusterOn:
        return command->name;
    default:
        return nullptr;
    }
}

Name
FirstTwo(const List *names) {
    return {strVal(linitial(names)), strVal(lsecond(names))};
}

} // namespace

PartitionStatements::PartitionStatements(const RearrangedTables &tables) : tables_(tables) {
    for (const auto &[root, leaves] : tables.leaves) {
        if (tables.others.contains(root)) {
            below_others_.insert(leaves.begin(), leaves.end());
        }
    }
    below_others_.insert(tables.others.begin(), tables.others.end());
}

void
PartitionStatements::Note(const Statement &statement) {
    if (IsA(statement.node, IndexStmt)) {
        const auto *index = reinterpret_cast<const IndexStmt *>(statement.node);
        const Name table = NameOf(index->relation);
        indexes_[{table.first, index->idxname == nullptr ? "" : index->idxname}] = table;
        return;
    }
    if (!IsA(statement.node, AlterTableStmt)) {
        return;
    }
    const auto *alter = reinterpret_cast<const AlterTableStmt *>(statement.node);
    if (alter->objtype == OBJECT_INDEX) {
        if (const RangeVar *index = AttachedIndex(alter)) {
            attached_.insert(NameOf(index));
        }
    } else if (const Constraint *constraint = AddedConstraint(alter);
               constraint != nullptr && HasIndex(constraint)) {
        const Name table = NameOf(alter->relation);
        indexes_[{table.first, constraint->conname}] = table;
    }
}

bool
PartitionStatements::IsOther(const RangeVar *relation) const {
    return tables_.others.contains(NameOf(relation));
}

const std::vector<RearrangedTables::Name> *
PartitionStatements::LeavesOf(const RangeVar *relation) const {
    const auto found = tables_.leaves.find(NameOf(relation));
    return found == tables_.leaves.end() ? nullptr : &found->second;
}

std::string
PartitionStatements::Missing(const char *kind, const char *name, const Name &table) const {
    return std::string(kind) + (name == nullptr ? "" : " " + QuoteIdentifier(name)) + " of " +
           QualifiedName(table.first, table.second) +
           " is left out: the target has not this partition";
}

std::optional<std::string>
PartitionStatements::OfNamed(const char *kind, const Name &table, const char *name) const {
    return tables_.missing.contains(table) ? std::optional(Missing(kind, name, table))
                                           : std::nullopt;
}

// One that belongs to another one comes with that.
std::optional<std::string>
PartitionStatements::OfIndex(const char *kind, const Name &table, const char *name) {
    const Name index(table.first, name == nullptr ? "" : name);
    const bool is_missing = tables_.missing.contains(table);
    const bool is_attached = attached_.contains(index);
    if (!is_missing && !(is_attached && below_others_.contains(table))) {
        return std::nullopt;
    }
    left_out_indexes_.insert(index);
    return is_attached ? "" : Missing(kind, name, table);
}

std::optional<std::string>
PartitionStatements::OfAlterIndex(const AlterTableStmt *alter) const {
    const Name index = NameOf(alter->relation);
    const RangeVar *attached = AttachedIndex(alter);
    const auto table = indexes_.find(index);
    const bool is_moot = left_out_indexes_.contains(index) ||
                         (attached != nullptr &&
                          (left_out_indexes_.contains(NameOf(attached)) ||
                           (table != indexes_.end() && tables_.others.contains(table->second))));
    return is_moot ? std::optional<std::string>("") : std::nullopt;
}

std::optional<std::string>
PartitionStatements::OfAlter(const AlterTableStmt *alter) {
    if (alter->objtype == OBJECT_INDEX) {
        return OfAlterIndex(alter);
    }
    const Name table = NameOf(alter->relation);
    const Constraint *constraint = AddedConstraint(alter);
    if (constraint != nullptr && HasIndex(constraint)) {
        return OfIndex("constraint", table, constraint->conname);
    }
    if (constraint != nullptr && constraint->contype == CONSTR_FOREIGN &&
        tables_.missing.contains(NameOf(constraint->pktable))) {
        return "foreign key " +
               QuoteIdentifier(constraint->conname == nullptr ? "" : constraint->conname) + " of " +
               QualifiedName(table.first, table.second) + " is left out: it references " +
               QualifiedName(NameOf(constraint->pktable).first, constraint->pktable->relname) +
               ", a partition that the target has not";
    }
    if (constraint != nullptr) {
        return OfNamed("constraint", table, constraint->conname);
    }
    const char *index = NamedIndex(alter);
    const bool is_moot = tables_.missing.contains(table) ||
                         (index != nullptr && left_out_indexes_.contains({table.first, index}));
    return is_moot ? std::optional<std::string>("") : std::nullopt;
}

std::optional<std::string>
PartitionStatements::OfComment(const CommentStmt *comment) const {
    const auto *names = reinterpret_cast<const List *>(comment->object);
    bool is_moot = false;
    switch (comment->objtype) {
    case OBJECT_INDEX:
        is_moot = list_length(names) == 2 && left_out_indexes_.contains(FirstTwo(names));
        break;
    case OBJECT_STATISTIC_EXT:
        is_moot = list_length(names) == 2 && left_out_statistics_.contains(FirstTwo(names));
        break;
    case OBJECT_TABCONSTRAINT:
    case OBJECT_TRIGGER:
    case OBJECT_RULE:
    case OBJECT_POLICY:
        is_moot = list_length(names) == 3 &&
                  (tables_.missing.contains(FirstTwo(names)) ||
                   (comment->objtype == OBJECT_TABCONSTRAINT &&
                    left_out_indexes_.contains({strVal(linitial(names)), strVal(lthird(names))})));
        break;
    default:
        break;
    }
    return is_moot ? std::optional<std::string>("") : std::nullopt;
}

std::optional<std::string>
PartitionStatements::LeftOut(const Node *node) {
    switch (nodeTag(node)) {
    case T_IndexStmt: {
        const auto *index = reinterpret_cast<const IndexStmt *>(node);
        return OfIndex("index", NameOf(index->relation), index->idxname);
    }
    case T_AlterTableStmt:
        return OfAlter(reinterpret_cast<const AlterTableStmt *>(node));
    case T_CreateTrigStmt: {
        const auto *trigger = reinterpret_cast<const CreateTrigStmt *>(node);
        return OfNamed("trigger", NameOf(trigger->relation), trigger->trigname);
    }
    case T_RuleStmt: {
        const auto *rule = reinterpret_cast<const RuleStmt *>(node);
        return OfNamed("rule", NameOf(rule->relation), rule->rulename);
    }
    case T_CreatePolicyStmt: {
        const auto *policy = reinterpret_cast<const CreatePolicyStmt *>(node);
        return OfNamed("policy", NameOf(policy->table), policy->policy_name);
    }
    case T_CreateStatsStmt: {
        const auto *statistics = reinterpret_cast<const CreateStatsStmt *>(node);
        const auto *relation = static_cast<const RangeVar *>(linitial(statistics->relations));
        if (!IsA(relation, RangeVar) || !tables_.missing.contains(NameOf(relation))) {
            return std::nullopt;
        }
        left_out_statistics_.insert(FirstTwo(statistics->defnames));
        return Missing("statistics object", strVal(llast(statistics->defnames)), NameOf(relation));
    }
    case T_AlterStatsStmt: {
        const auto *statistics = reinterpret_cast<const AlterStatsStmt *>(node);
        return left_out_statistics_.contains(FirstTwo(statistics->defnames))
                   ? std::optional<std::string>("")
                   : std::nullopt;
    }
    case T_CommentStmt:
        return OfComment(reinterpret_cast<const CommentStmt *>(node));
    default:
        return std::nullopt;
    }
}

} // namespace livemigrate::stage
