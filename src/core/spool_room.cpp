#include "core/spool_room.hpp"

#include <algorithm>

namespace livemigrate {

namespace {

constexpr uint64_t kMegabyte = 1 << 20;

// Beyond the limit the question comes up again after so much: the transaction may have ended.
constexpr uint64_t kOversizedStep = kMegabyte;

constexpr uint64_t kSegmentsInLimit = 4;

std::string
Megabytes(uint64_t bytes) {
    return std::to_string(bytes / kMegabyte) + " MB";
}

uint64_t
Left(uint64_t used, uint64_t limit) {
    return limit > used ? limit - used : 0;
}

} // namespace

SpoolRoom
RoomInSpool(const SpoolUse &use) {
    SpoolRoom room;
    if (use.min_free_disk > 0) {
        room.bytes = Left(use.min_free_disk, use.free_disk);
        if (room.bytes == 0) {
            room.hold = SpoolHold::kFreeDisk;
            return room;
        }
    }
    if (use.size_limit == 0) {
        return room;
    }
    const uint64_t left = Left(use.size, use.size_limit);
    if (left > 0) {
        room.bytes = std::min(room.bytes, left);
    } else if (use.apply_makes_room) {
        room.hold = SpoolHold::kSizeLimit;
        room.bytes = 0;
    } else {
        room.hold = SpoolHold::kOversized;
        room.bytes = std::min(room.bytes, kOversizedStep);
    }
    return room;
}

uint64_t
SegmentSizeUnderLimit(uint64_t segment_size, uint64_t size_limit) {
    return size_limit == 0 ? segment_size : std::min(segment_size, size_limit / kSegmentsInLimit);
}

SpoolHoldText
DescribeSpoolHold(SpoolHold hold, uint64_t size_limit, uint64_t min_free_disk) {
    const std::string limit = "livemigrate.spool_size_limit (" + Megabytes(size_limit) + ")";
    const std::string guard = "livemigrate.spool_min_free_disk (" + Megabytes(min_free_disk) + ")";
    const std::string space_hint = "Free space on the file system of the target's data directory. "
                                   "The source keeps its WAL meanwhile.";
    switch (hold) {
    case SpoolHold::kSizeLimit:
        return {"waiting for apply: the spool has reached " + limit,
                "It goes on when apply, which begins after the indexes, has made room. The source "
                "keeps its WAL meanwhile. To take in more now, raise livemigrate.spool_size_limit "
                "and run: SELECT pg_reload_conf();"};
    case SpoolHold::kFreeDisk:
        return {"waiting for disk space: less than " + guard + " is free for the spool",
                space_hint};
    case SpoolHold::kDiskFull:
        return {"waiting for disk space: the file system of the spool is full", space_hint};
    case SpoolHold::kOversized:
        return {"the spool exceeds " + limit + ": it must hold one transaction that is larger",
                "Waiting would never end, because apply removes a transaction when all of it is "
                "there. livemigrate.spool_min_free_disk still holds."};
    case SpoolHold::kNone:
        break;
    }
    return {};
}

} // namespace livemigrate
