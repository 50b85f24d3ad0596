// Which changes of the stream are for the target: those of the migration's tables, as far as their
// copied rows do not have them already.
#pragma once

#include "core/change_batch.hpp"
#include "core/column_changes.hpp"
#include "core/copy_task.hpp"
#include "core/lsn.hpp"
#include "core/table_pattern.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace livemigrate::stage {

class ApplySelection {
  public:
    enum class Choice : uint8_t {
        kApply,
        kPassOver, // left out: to be counted
        kCopied,   // the copied rows have it, or there are none
        kChanged, // the table's columns are others than those of its copied rows; see NotFollowed()
        kReplaced, // another table of the source has the copied one's name; needs pgoutput
        kUnknown,  // see AcceptUnknown()
    };

    // By CopyTable::id: what the columns were when the rows were copied. Not known of tables that
    // somebody else has copied, nor looked at where the plugin does not tell types.
    using ColumnsById = std::map<int32_t, std::vector<SourceColumn>>;

    // All must outlive this.
    ApplySelection(const std::vector<CopyTable> &tables, const ColumnsById &columns,
                   const TableFilter &filter);

    // What becomes of a table's changes in a transaction that commits there.
    Choice Of(const std::shared_ptr<const RemoteRelation> &relation, Lsn commit_lsn);

    // A table that nobody knows of was created on the source after the migration began. Once
    // somebody has made it on the target, its changes can be applied: returns whether so.
    bool AcceptUnknown(const RemoteRelation &relation);

    // What became of the columns of a table whose choice is kChanged, and the target's table has
    // not followed; nothing if its changes can be applied, as they can be to a table that still has
    // a column that was dropped.
    std::vector<ColumnChange> NotFollowed(const std::shared_ptr<const RemoteRelation> &relation);

    // The migration's table that the stream's is. REQUIRES: it is not kUnknown, nor left out by its
    // name.
    const CopyTable &TableOf(const RemoteRelation &relation) const;

    // Throws the Error for a table that was not accepted.
    [[noreturn]] static void ThrowUnknown(const RemoteRelation &relation, Lsn commit_lsn);

    // Whether the rows go through the root: the source is to be asked before its TRUNCATE.
    bool GoesThroughRoot(const RemoteRelation &relation) const;

    bool HasIdentityFull(std::string_view schema, std::string_view name) const;

  private:
    using Name = std::pair<std::string, std::string>;

    // What holds of a description whatever the position.
    struct Described {
        std::shared_ptr<const RemoteRelation> relation; // keeps its address from being used again
        Choice choice = Choice::kUnknown;
        Lsn snapshot_lsn;
    };

    const Described &Find(const std::shared_ptr<const RemoteRelation> &relation);
    Described Describe(const std::shared_ptr<const RemoteRelation> &relation) const;
    Choice OfWritten(const RemoteRelation &relation, const CopyTable &table) const;
    std::vector<ColumnChange> ChangesOf(const RemoteRelation &relation,
                                        const CopyTable &table) const;

    const TableFilter &filter_;
    const ColumnsById &columns_;
    std::map<Name, const CopyTable *> tables_;
    std::set<Name> accepted_;
    std::unordered_map<const RemoteRelation *, Described> described_;
    const Described *last_ = nullptr; // changes of a table come in runs
};

} // namespace livemigrate::stage
