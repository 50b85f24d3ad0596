// Statements of the dump's post-data section on partitions, where the target has not the same ones:
// an index of the root is then made whole, with what it takes on whatever partitions there are.
#pragma once

#include "pg/prelude.hpp"

#include "core/rearranged_tables.hpp"
#include "stage/statement.hpp"

#include <map>
#include <optional>
#include <set>
#include <string>

namespace livemigrate::stage {

class PartitionStatements {
  public:
    // `tables` must outlive this.
    explicit PartitionStatements(const RearrangedTables &tables);

    // To be called with all statements before LeftOut().
    void Note(const Statement &statement);

    // Why a statement is not to be executed; empty if that is nothing to be told, since another one
    // makes up for it. To be called with all statements in their order.
    std::optional<std::string> LeftOut(const Node *node);

    // Whether the partitioned table of the source has other partitions on the target, or none.
    bool IsOther(const RangeVar *relation) const;

    // The source's partitions of such a one that have rows; null for any other table.
    const std::vector<RearrangedTables::Name> *LeavesOf(const RangeVar *relation) const;

  private:
    using Name = RearrangedTables::Name;

    std::optional<std::string> OfAlter(const AlterTableStmt *alter);
    std::optional<std::string> OfAlterIndex(const AlterTableStmt *alter) const;
    std::optional<std::string> OfIndex(const char *kind, const Name &table, const char *name);
    std::optional<std::string> OfNamed(const char *kind, const Name &table, const char *name) const;
    std::optional<std::string> OfComment(const CommentStmt *comment) const;
    std::string Missing(const char *kind, const char *name, const Name &table) const;

    const RearrangedTables &tables_;
    std::set<Name> below_others_;     // partitions whose root has other ones
    std::map<Name, Name> indexes_;    // the table of each index
    std::set<Name> attached_;         // indexes that are attached to another one
    std::set<Name> left_out_indexes_; // that have another name, if there are any
    std::set<Name> left_out_statistics_;
};

} // namespace livemigrate::stage
