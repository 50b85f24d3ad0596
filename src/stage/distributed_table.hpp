// A distributed or reference table of Citus, written a batch at a time: the rows are arrays, one
// for each column. Those to insert go to the shards by Citus's COPY; those to find are sent with
// one statement to the shard that has them.
#pragma once

#include "pg/prelude.hpp"

#include "stage/managed_table.hpp"

#include <map>
#include <string>
#include <vector>

namespace livemigrate::stage {

class DistributedTable final : public ManagedTable {
  public:
    DistributedTable(Oid relid, const RemoteRelation &remote, const ValueFormat &format)
        : ManagedTable(relid, remote, format) {}

  private:
    std::string Value(const Statement &statement, size_t source) const override;
    std::vector<Part> Divide(const Statement &statement) override;
    uint64 Execute(const Statement &statement, const Rows &rows) override;

    bool IsSentByShard(const Statement &statement) const;
    std::string RowsItem(const Statement &statement) const;
    std::vector<std::string> Texts(const Statement &statement, size_t source);
    std::map<std::string, std::string> ShardsOf(const std::vector<std::string> &values,
                                                const Column &column) const;
};

} // namespace livemigrate::stage
