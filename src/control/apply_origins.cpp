#include "pg/prelude.hpp"

#include "control/apply_origins.hpp"

#include "pg/guard.hpp"

#include <algorithm>

namespace livemigrate::control {

namespace {

Lsn
Progress(const std::string &origin, bool flushed) {
    return Lsn{pg::Call([&]() -> XLogRecPtr {
        const RepOriginId id = replorigin_by_name(origin.c_str(), true);
        return id == InvalidRepOriginId ? 0 : replorigin_get_progress(id, flushed);
    })};
}

} // namespace

// A slash stands in no name of a slot, and so in no other migration's origin.
std::string
OriginOf(const std::string &origin, uint32_t worker) {
    return worker == 0 ? origin : origin + "/" + std::to_string(worker + 1);
}

OriginPositions
ReadOrigins(const std::string &origin, int workers, bool flushed) {
    OriginPositions positions;
    for (int i = 0; i < workers; i++) {
        const Lsn one = Progress(OriginOf(origin, static_cast<uint32_t>(i)), flushed);
        positions.least = i == 0 ? one : std::min(positions.least, one);
        positions.furthest = std::max(positions.furthest, one);
    }
    return positions;
}

void
CreateOrigins(const Migration &migration) {
    for (int i = 0; i < migration.settings.apply_jobs; i++) {
        const std::string name = OriginOf(migration.origin_name, static_cast<uint32_t>(i));
        pg::Call([&] { replorigin_create(name.c_str()); });
    }
}

void
DropOrigins(const Migration &migration) {
    for (int i = 0; i < migration.settings.apply_jobs; i++) {
        const std::string name = OriginOf(migration.origin_name, static_cast<uint32_t>(i));
        pg::Call([&] { replorigin_drop_by_name(name.c_str(), true, false); });
    }
}

} // namespace livemigrate::control
