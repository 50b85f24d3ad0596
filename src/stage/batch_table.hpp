// A table of the target that is written a batch at a time, by the net effect of the changes to it.
#pragma once

#include "core/net_effect.hpp"

#include <functional>

namespace livemigrate::stage {

class BatchTable {
  public:
    // Writes one change of the table.
    using RowWriter = std::function<void(const RowChange &)>;

    virtual ~BatchTable() = default;

    // Whether rows can be found by the stream's key: otherwise only inserts can be written.
    virtual bool finds_rows() const = 0;

    // Writes all of it, some rows perhaps by `write_row`. Throws Error for what any statement would
    // raise; P0002 when a row is missing; 40001 if another session changed a row meanwhile. The
    // transaction must then be rolled back, at least to before the call. REQUIRES: an open
    // transaction, the table locked and its definition as it was when the object was made.
    virtual void Write(const NetEffect &effect, const RowWriter &write_row) = 0;
};

} // namespace livemigrate::stage
