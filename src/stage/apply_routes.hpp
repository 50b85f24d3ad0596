// Partitions of the source whose rows go through the topmost table on the target.
#pragma once

#include "core/change.hpp"
#include "core/copy_task.hpp"
#include "core/error.hpp"
#include "source/partitions.hpp"

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace livemigrate::stage {

// See source::DescribeRoot().
using AskAboutRoot = std::function<source::RootOnSource(
    const source::RootOnSource::Name &root, const std::set<uint32_t> &oids,
    const std::vector<source::RootOnSource::Name> &names)>;

// That the rows of a partition that the source has since the migration began cannot go through its
// root; `why` is the detail.
Error CannotGoThroughRoot(const source::RootOnSource::Name &partition,
                          const source::RootOnSource::Name &root, const std::string &why);

// That it cannot be told whether rows of such a partition are missing. Once the migration is
// resumed it counts as created.
Error UnclearPartition(const source::RootOnSource::Name &partition,
                       const source::RootOnSource::Name &root);

class ApplyRoutes {
  public:
    using Name = std::pair<std::string, std::string>; // schema and table

    // The tables must outlive this.
    ApplyRoutes(const std::vector<CopyTable> &tables, AskAboutRoot ask);

    // The table of the target that a table of the stream is written to. Throws Error if rows of it
    // may be missing there: it was filled before it took the place of the partition that was
    // copied.
    Name TargetOf(const RemoteRelation &relation);

    // The OID of the partition of the source that the last error, an UnclearPartition(), was thrown
    // for; else 0.
    uint32_t
    TakeUnclear() {
        return std::exchange(unclear_, 0);
    }

    // Null unless it goes through the root.
    const CopyTable *Routed(const RemoteRelation &relation) const;

    // The source's partitions of the root of such a one, itself included.
    const std::vector<const CopyTable *> &PartitionsBeside(const CopyTable &table) const;

    // A partition whose rows on the target are the user's.
    bool
    IsLeftOut(const Name &partition) const {
        return left_out_.contains(partition);
    }

    // What has become of its root on the source, and of the tables that were its partitions or are
    // the target's. Throws Error when the source cannot be asked.
    source::RootOnSource RootNow(const CopyTable &table, const std::vector<Name> &names) const;

  private:
    void CheckReplaced(const RemoteRelation &relation, const CopyTable &table);

    std::map<Name, const CopyTable *> routed_;
    std::map<Name, std::vector<const CopyTable *>> partitions_; // by the root
    std::map<Name, std::set<uint32_t>> known_; // by the root: what lies below it, by OID
    std::set<Name> left_out_;
    std::set<uint32_t> checked_; // OIDs of partitions that took the place of others
    uint32_t unclear_ = 0;
    AskAboutRoot ask_;
};

} // namespace livemigrate::stage
