#include "pg/prelude.hpp"

#include "source/published_roots.hpp"

namespace livemigrate::source {

TableByRoot
FindWithoutIdentity(const std::vector<const SourceTable *> &tables) {
    std::unordered_map<uint32_t, const SourceTable *> by_oid;
    for (const SourceTable *table : tables) {
        by_oid.emplace(table->oid, table);
    }
    TableByRoot found;
    for (const SourceTable *table : tables) {
        // Unlogged ones are never published.
        if (table->relkind != 'r' || table->persistence != 'p' || table->identity_usable) {
            continue;
        }
        for (const SourceTable *below = table; below->is_partition;) {
            const auto above = by_oid.find(below->parent_oid);
            if (above == by_oid.end() || !found.emplace(above->first, table).second) {
                break;
            }
            below = above->second;
        }
    }
    return found;
}

bool
CanPublishRoot(const SourceTable &root, const TableByRoot &without_identity, int source_version) {
    const bool looks_at_root =
        source_version < 130008 || (source_version >= 140000 && source_version < 140005);
    return root.primary_key_usable && (root.identity_usable || !looks_at_root) &&
           !without_identity.contains(root.oid);
}

} // namespace livemigrate::source
