#include "pg/update_room.hpp"

extern "C" {
#include "storage/freespace.h"
#include "storage/smgr.h"
}

namespace livemigrate::pg {

namespace {

// A page that takes fewer versions is cramped.
constexpr int kFewVersions = 4;
// Cramped pages that are put up with: a short series of updates extends no table.
constexpr int kCrampedPages = 8;
constexpr Size kWantedRoom = BLCKSZ / 4;

} // namespace

void
UpdateRoom::Open(Relation relation) {
    relation_ = relation;
    block_ = InvalidBlockNumber;
    versions_ = 0;
    cramped_ = 0;
    chosen_ = false;
}

void
UpdateRoom::Updated(BlockNumber before, BlockNumber after) {
    if (after == block_) {
        versions_++;
        return;
    }
    if (after == before) {
        return;
    }
    const bool was_cramped = versions_ < kFewVersions;
    const bool was_chosen = chosen_;
    block_ = after;
    versions_ = 1;
    chosen_ = false;
    cramped_ += was_cramped ? 1 : 0;
    // Rows so long that even a chosen page takes few of them gain nothing.
    if (was_chosen ? !was_cramped : was_cramped && cramped_ >= kCrampedPages) {
        Choose();
    }
}

// RelationGetBufferForTuple() of PostgreSQL's hio.c looks at the target block first.
void
UpdateRoom::Choose() {
    block_ = GetPageWithFreeSpace(relation_, kWantedRoom);
    if (block_ == InvalidBlockNumber) {
        block_ = ExtendTable(relation_);
    }
    RelationSetTargetBlock(relation_, block_);
    versions_ = 0;
    chosen_ = true;
}

} // namespace livemigrate::pg
