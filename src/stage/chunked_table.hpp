// A hypertable of TimescaleDB, written a batch at a time: the rows are a table that the statement
// sees, and those of one chunk, more or less, are written by one statement, which says between
// which times they lie, so that the planner leaves the other chunks out.
#pragma once

#include "pg/prelude.hpp"

#include "stage/managed_table.hpp"

#include <string>
#include <vector>

namespace livemigrate::stage {

class ChunkedTable final : public ManagedTable {
  public:
    // Places in the time column, from `begin` on and before `end`: microseconds since 2000-01-01,
    // or integers, as the column is.
    struct Range {
        int64 begin = 0;
        int64 end = 0;
    };

    ChunkedTable(Oid relid, const RemoteRelation &remote, const ValueFormat &format);

  private:
    std::string Value(const Statement &statement, size_t source) const override;
    std::vector<Part> Divide(const Statement &statement) override;
    uint64 Execute(const Statement &statement, const Rows &rows) override;

    // A source of the statement by whose values chunks can be left out.
    struct Bound {
        size_t source = 0;
        Oid type = InvalidOid;
    };
    std::vector<Bound> BoundsOf(const Statement &statement) const;
    std::vector<int64> Places(const Statement &statement, const Bound &time);
    std::vector<Range> CompressedRanges() const;

    std::string time_column_;  // quoted
    int64 chunk_interval_ = 0; // as a Range counts; 0 if unknown
};

} // namespace livemigrate::stage
