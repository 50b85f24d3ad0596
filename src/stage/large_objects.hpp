// Copies large objects under the snapshot. Later changes to them are not in the change stream.
#pragma once

#include "source/connection.hpp"

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace livemigrate::stage {

// Inclusive ranges of OIDs, in ascending order, with up to `objects_per_range` objects each; empty
// when there are none. REQUIRES: the source connection is inside the snapshot transaction.
std::vector<std::pair<uint32_t, uint32_t>> PlanLargeObjects(source::Connection &source,
                                                            uint32_t objects_per_range = 1000);

struct LargeObjectCopied {
    uint64_t objects = 0;
    uint64_t bytes = 0;
};

// Called after each batch with what this call has copied so far.
using LargeObjectProgress = std::function<void(uint64_t bytes, uint64_t objects)>;

// Copies the large objects of one range: same OIDs, same bytes, comments; empty ones too. They
// belong to the current user. An object that exists on the target is Error 42710, or replaced if
// `replace` is true. Memory stays at a few MB whatever the sizes.
//
// REQUIRES: the source connection is inside the snapshot transaction; a transaction is open on the
// target. Holes of sparse objects are read as zeros, and stay holes where they are
// large.
LargeObjectCopied CopyLargeObjects(source::Connection &source, uint32_t first_oid,
                                   uint32_t last_oid, const LargeObjectProgress &progress = {},
                                   bool replace = false);

} // namespace livemigrate::stage
