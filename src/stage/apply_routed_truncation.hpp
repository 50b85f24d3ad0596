// What a TRUNCATE of the stream empties of a root that takes its partitions' rows: all of it if no
// other table of the source may have rows there, else those within the bounds that the partitions
// still have on the source.
#pragma once

#include "pg/prelude.hpp"

#include "core/change_batch.hpp"
#include "core/lsn.hpp"
#include "stage/apply_routes.hpp"

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace livemigrate::stage {

// What a TRUNCATE comes to on the target.
struct Emptied {
    std::vector<Oid> tables;                        // to be truncated
    std::vector<std::pair<Oid, std::string>> parts; // which of their rows are to be deleted
};

class RoutedTruncation {
  public:
    using Name = ApplyRoutes::Name;
    // Tables whose changes are not in the stream, and what their rows are consistent with.
    using NotStreamed = std::map<Name, Lsn>;

    RoutedTruncation(const ApplyRoutes &routes, const ChangeBatch::Truncation &truncation,
                     const NotStreamed &not_streamed, Lsn commit_lsn);

    // `tables`: those that the stream names of this root. Throws Error where their rows cannot be
    // told from those of others.
    void Add(Oid root, const std::vector<const CopyTable *> &tables, Emptied &emptied) const;

    // The message of such errors; `why` is their detail.
    [[noreturn]] static void ThrowPartOfTable(const std::string &why);

  private:
    using Leaf = source::SourcePartition;

    bool IsTruncated(uint32_t oid, const Name &name) const;
    bool IsTruncated(uint32_t oid, const Leaf &leaf, const std::vector<const CopyTable *> &) const;
    bool IsAsItWas(const CopyTable &table, const source::RootOnSource &now) const;
    void CheckDetached(const std::vector<const CopyTable *> &beside,
                       const source::RootOnSource &now) const;
    std::string WhyNotByCondition(const CopyTable &table, const source::RootOnSource &now) const;

    const ApplyRoutes &routes_;
    const NotStreamed &not_streamed_;
    Lsn commit_lsn_;
    std::set<Name> names_;    // of the tables that are truncated
    std::set<uint32_t> oids_; // theirs on the source; none where the plugin does not tell them
};

} // namespace livemigrate::stage
