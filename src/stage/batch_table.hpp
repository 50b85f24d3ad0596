// A table of the target that is written a batch at a time, by the net effect of the changes to it.
#pragma once

#include "core/net_effect.hpp"

namespace livemigrate::stage {

class BatchTable {
  public:
    virtual ~BatchTable() = default;

    // Whether rows can be found by the stream's key: otherwise only inserts can be written.
    virtual bool finds_rows() const = 0;

    // Writes all of it. Throws Error for what any statement would raise; P0002 when a row is
    // missing; 40001 if another session changed a row meanwhile. The transaction must then be
    // rolled back, at least to before the call.
    // REQUIRES: an open transaction, the table locked and its definition as it was when the object
    // was made.
    virtual void Write(const NetEffect &effect) = 0;
};

} // namespace livemigrate::stage
