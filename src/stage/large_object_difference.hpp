// Which large objects differ between source and target: the change stream has nothing of them.
#pragma once

#include "source/connection.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace livemigrate::stage {

// By OID, ascending.
struct LargeObjectDifference {
    std::vector<uint32_t> missing; // on the target
    std::vector<uint32_t> changed;
    std::vector<uint32_t> extra; // not on the source
};

// Reads every large object on both sides. Nothing when that takes longer than `limit`, on the
// source than its statement_timeout. What lies behind 512 MB is compared by its length. Throws
// Error 42501 where rights are missing. REQUIRES: an open transaction on the target.
std::optional<LargeObjectDifference>
CompareLargeObjects(source::Connection &source, std::optional<std::chrono::milliseconds> limit);

// {1,2}: the input text of an oid[].
std::string OidArrayText(const std::vector<uint32_t> &oids);

} // namespace livemigrate::stage
