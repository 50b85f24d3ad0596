// Partitioned tables in a publication, which stand for their partitions, those to come too.
#pragma once

#include "source/catalog_query.hpp"

#include <unordered_map>
#include <vector>

namespace livemigrate::source {

using TableByRoot = std::unordered_map<uint32_t, const SourceTable *>;

// By the OID of each partitioned table above one: a partition whose UPDATE and DELETE cannot be
// replicated. `tables` are all of the source's, also those that are left out, and must outlive it.
TableByRoot FindWithoutIdentity(const std::vector<const SourceTable *> &tables);

// Whether the source can publish every change of a partitioned table's partitions, of the ones to
// come as well: else it would refuse the application's UPDATE and DELETE. New ones have the default
// replica identity whatever their root's is, and inherit its primary key. (Before 13.8 and 14.5 the
// root's own identity counted, too: CheckCmdReplicaIdentity() of execReplication.c.)
bool CanPublishRoot(const SourceTable &root, const TableByRoot &without_identity,
                    int source_version);

} // namespace livemigrate::source
