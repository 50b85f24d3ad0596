// The source's partitions, from its catalog: works on every source from 10 on.
#pragma once

#include "source/connection.hpp"

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace livemigrate::source {

struct SourcePartition {
    std::string schema;
    std::string name;
    bool is_leaf = true; // it has rows: it is not partitioned itself
    bool is_unlogged = false;
    std::string root_schema; // of the topmost partitioned table
    std::string root_name;
    std::string bounds;        // as pg/partition_tree has them
    std::string beside = "{}"; // as an array
    uint32_t parent = 0;
    bool key_suffices = true; // its replica identity, if it has one, is none of the root's others'
};

// What a partition, and all above it that are not known, came from: CREATE TABLE ... PARTITION OF;
// ATTACH PARTITION, when they may have had rows already; or, of one transaction, one or the other.
enum class PartitionOrigin { kCreated, kUnclear, kAttached };

// What lies below one partitioned table, and has become of others, as it is now.
struct RootOnSource {
    using Name = std::pair<std::string, std::string>; // schema and table
    std::map<uint32_t, SourcePartition> leaves;       // its partitions that have rows, by OID
    std::map<uint32_t, Name> tables;                  // of the OIDs asked for: what they are called
    std::set<Name> names;                             // of the names asked for: relations
    std::map<uint32_t, PartitionOrigin> origins;      // of the leaves
};

// By OID; those that are partitioned themselves are among them.
std::map<uint32_t, SourcePartition> ListPartitions(Connection &source,
                                                   const WaitObserver &observer = {});

// Which of the root's rows are those of each of these partitions, as SQL conditions that hold on
// any server. Empty where there is none: by hash, by the order of text, and what is left by others.
std::map<uint32_t, std::string> PartitionConditions(Connection &source,
                                                    const std::vector<uint32_t> &oids,
                                                    const WaitObserver &observer = {});

// What a migration knows of where partitions came from.
struct OriginsKnown {
    std::set<uint32_t> accepted; // see PartitionOrigins
    std::string recovery_mark; // kRecoveryMark, of before any of them was made; empty if not known
};

// `oids` are of tables that are known: what they had is, too.
RootOnSource DescribeRoot(Connection &source, const RootOnSource::Name &root,
                          const std::set<uint32_t> &oids,
                          const std::vector<RootOnSource::Name> &names, const OriginsKnown &known,
                          const WaitObserver &observer = {});

// Of partitions and partitioned tables below a root; those that are in no set were attached.
struct PartitionOrigins {
    std::set<uint32_t> created;
    std::set<uint32_t> unclear;  // the source may have forgotten it
    std::set<uint32_t> accepted; // the operator knows that no rows of theirs are missing
};
PartitionOrigins ListOrigins(Connection &source, const OriginsKnown &known,
                             const WaitObserver &observer = {});

PartitionOrigin OriginOf(const std::map<uint32_t, SourcePartition> &partitions,
                         const PartitionOrigins &origins, const std::set<uint32_t> &known,
                         uint32_t partition);

} // namespace livemigrate::source
