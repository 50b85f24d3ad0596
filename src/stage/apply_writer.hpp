// Writes batches of changes into the target's tables.
//
// Plain tables and hypertables get the net effect of a batch; the others, through SQL, every change
// in source order. What one table gets first does not matter to another: nothing fires in replica
// role that would look. Where something does (ALWAYS and REPLICA triggers), and where the net
// effect cannot be written (rows that pass a unique value on among themselves), the batch is
// written change by change in source order; the result is the same.
#pragma once

#include "core/change_batch.hpp"
#include "core/error.hpp"
#include "stage/apply_failure.hpp"
#include "stage/apply_lossy_columns.hpp"
#include "stage/apply_routes.hpp"
#include "stage/managed_table.hpp"
#include "stage/plain_table.hpp"
#include "stage/apply_routed_truncation.hpp"
#include "stage/target_relation.hpp"

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace livemigrate::stage {

class ApplyWriter {
  public:
    using Items = std::span<const ChangeBatch::Item>;

    using Names = std::set<std::pair<std::string, std::string>>; // schema and table
    // The migration's tables whose changes are not in the stream, by schema and table; and what
    // their rows, if they have been copied, are consistent with.
    using NotStreamed = RoutedTruncation::NotStreamed;

    ApplyWriter(const ValueFormat &format, NotStreamed not_streamed, LossyColumns lossy_columns,
                ApplyRoutes routes, ApplyFailure &failure);
    ~ApplyWriter();

    // Throws Error for the first change that cannot be applied, which `failure` then names, or for
    // what has nothing to do with a single change.
    // Returns how many changes had to be written in source order, for want of a net effect.
    // REQUIRES: an open transaction and SPI connection; it must be rolled back after an Error.
    uint64_t Write(const ChangeBatch &batch, Items items);

    // A target transaction has begun, whose first changes are still to be written.
    void BeginTarget();
    // Whether it has written tables whose triggers fire.
    bool
    has_fired() const {
        return fired_.has_value();
    }
    // The source transaction that was written last is at its end: fires the deferred triggers,
    // which would wait for the target transaction's. Write() does it for those before. Throws Error
    // for what they raise, which `failure` then names. REQUIRES: as Write().
    void FireDeferred();

    // Throws `error`, which `failure` then names as that of the change. REQUIRES: as Write().
    [[noreturn]] void Refuse(const ChangeBatch &batch, const ChangeBatch::Item &item,
                             const Error &error);

  private:
    struct Table;
    struct Group;
    struct Fired {
        std::shared_ptr<const RemoteRelation> relation;
        ChangeBatch::Transaction transaction;
    };

    uint64_t WriteRows(const ChangeBatch &batch, Items items);
    bool TryNetEffect(const ChangeBatch &batch, Items items);
    bool Gather(const ChangeBatch &batch, Items items, std::vector<Group> &groups,
                std::pmr::memory_resource *memory);
    void WriteGroup(const ChangeBatch &batch, Group &group);
    void WriteRow(const ChangeBatch &batch, const ChangeBatch::Item &item);
    void FireBefore(const ChangeBatch::Item &item);
    void Truncate(const ChangeBatch &batch, const ChangeBatch::Item &item);
    bool TruncateAll(const ChangeBatch::Truncation &truncation, Lsn commit_lsn);
    Table &Find(const std::shared_ptr<const RemoteRelation> &remote);
    Table &FindFor(const ChangeBatch &batch, const ChangeBatch::Item &item);

    ValueFormat format_;
    NotStreamed not_streamed_;
    LossyColumns lossy_columns_;
    ApplyRoutes routes_;
    ApplyFailure &failure_;
    std::optional<Fired> fired_; // the last change of a table whose triggers fire
    std::unordered_map<const RemoteRelation *, std::unique_ptr<Table>> tables_;
};

} // namespace livemigrate::stage
