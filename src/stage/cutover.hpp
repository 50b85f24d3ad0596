// What is left to do once the last change is applied, besides sequences: materialized views,
// statistics, and a look for what the migration could not take along.
#pragma once

#include "source/connection.hpp"

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace livemigrate::stage {

using RelationName = std::pair<std::string, std::string>; // schema, name

struct CutoverReport {
    std::vector<std::string> notes;
    std::vector<std::string> warnings;
};

// The materialized views that are populated on the source. `observer` is called while it is waited
// for.
std::set<RelationName> PopulatedViews(source::Connection &source,
                                      const source::WaitObserver &observer = {});

// Those of them that exist on the target, so ordered that each comes behind those it reads,
// directly or through views. REQUIRES: an open transaction on the target.
std::vector<RelationName> PlanMaterializedViews(const std::set<RelationName> &populated);

// REFRESH MATERIALIZED VIEW for each of the views, with the rights of its owner. One that fails is
// a warning with the reason, and leaves the others alone; cancellation and lack of resources are
// thrown.
// REQUIRES: an open transaction on the target, in which the views' locks stay.
void RefreshMaterializedViews(const std::vector<RelationName> &views, CutoverReport &report);

// ANALYZE for each table that exists on the target; a missing one is a note. A partition stands for
// its whole partitioned table, which is analyzed once.
// REQUIRES: an open transaction on the target, in which the tables' locks stay: not too many at
// once.
void AnalyzeTables(const std::vector<RelationName> &tables, CutoverReport &report);

// A warning for each table of the source that is not among `known`, as it was created after the
// snapshot: neither its definition nor its rows are on the target. Temporary tables, tables of
// extensions and foreign tables do not count.
void FindNewSourceTables(source::Connection &source, const std::vector<RelationName> &known,
                         CutoverReport &report);

// Partitions on the source that hold something, belong to one of the tables `known` without being
// one, and are in none of the publications. `known` are OIDs of the source.
std::vector<RelationName> FindUnpublishedPartitions(source::Connection &source,
                                                    const std::vector<std::string> &publications,
                                                    const std::set<uint32_t> &known,
                                                    const source::WaitObserver &observer = {});

// Partitions on the source that are not `known`, of which publication `inserts` has INSERT and
// `all` nothing; and whether rows of them were updated or deleted.
std::map<RelationName, bool> FindInsertOnlyPartitions(source::Connection &source,
                                                      const std::string &all,
                                                      const std::string &inserts,
                                                      const std::set<uint32_t> &known,
                                                      const source::WaitObserver &observer = {});

} // namespace livemigrate::stage
