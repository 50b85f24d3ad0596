// Partitions that go through their root on the target (pg/partition_routing) and whose identity on
// the source tells rows of the partition apart, but not of the root.
#pragma once

#include "source/connection.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace livemigrate::stage {

// Their OIDs on the source, as far as the types of the keys tell there which ones are routed. They
// do not where a key is an expression: that is for FindWithoutPartitionKey().
std::vector<uint32_t> FindRoutedWithoutKey(source::Connection &source);

// Those of the leaves, all of which are routed, whose identity lacks a partition key.
std::vector<uint32_t> FindWithoutPartitionKey(source::Connection &source,
                                              const std::vector<uint32_t> &leaves);

// What to say of the table of this quoted name.
std::string RoutedWithoutKey(const std::string &name);

} // namespace livemigrate::stage
