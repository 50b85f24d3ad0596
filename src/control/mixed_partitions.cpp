#include "pg/prelude.hpp"

#include "control/mixed_partitions.hpp"

#include "pg/partition_routing.hpp"
#include "pg/table_manager.hpp"

#include <map>

namespace livemigrate::control {

namespace {

// The partitions, or the one table, of a table of the target.
struct Group {
    std::set<int32_t> complete;
    std::set<uint32_t> filled;
    bool is_rewritten = false; // one that is complete, and whose rows cannot be told from others'
    bool is_unfinished = false;
    bool is_left_out = false;
};

bool
IsRewritten(const CopyTable &table, const source::Filenodes &files) {
    const auto now = files.find(table.source_oid);
    return now != files.end() && now->second != table.filenode;
}

} // namespace

bool
IsMixed(const CopyTable &table) {
    return table.through_root() || pg::IsRouted(table.schema, table.name);
}

TablesToRepeat
FindTablesToRepeat(const std::vector<CopyTable> &tables, const source::Filenodes &files) {
    std::map<uint32_t, Group> groups; // by the topmost table
    for (const CopyTable &table : tables) {
        const bool is_leaf = table.relkind == 'r' && !table.root_name.empty();
        const Oid named =
            is_leaf ? pg::FindTable(table.target_schema, table.target_name) : InvalidOid;
        if (!OidIsValid(named)) {
            continue;
        }
        const Oid filled = pg::RoutingRelation(named);
        const bool is_done = table.state == "done";
        Group &group = groups[pg::TopmostAncestor(named)];
        group.filled.insert(filled);
        if (is_done) {
            group.complete.insert(table.id);
        }
        // TRUNCATE of an unlogged one is not in the stream.
        group.is_rewritten |= is_done && table.persistence != 'u' && IsMixed(table) &&
                              table.partition_condition.empty() && IsRewritten(table, files);
        group.is_unfinished |= table.copy_data && !is_done && table.state != "skipped";
        group.is_left_out |= !table.copy_data;
    }
    TablesToRepeat repeated;
    for (const auto &[root, group] : groups) {
        if (group.is_rewritten && group.is_unfinished && !group.is_left_out) {
            repeated.tables.insert(group.complete.begin(), group.complete.end());
            repeated.filled.insert(group.filled.begin(), group.filled.end());
        }
    }
    return repeated;
}

} // namespace livemigrate::control
