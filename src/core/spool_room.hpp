// How much more may go into the spool: livemigrate.spool_size_limit and
// livemigrate.spool_min_free_disk, turned into back-pressure. The receiver asks before it reads;
// while there is no room it leaves the stream in the socket, and so on the source.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

namespace livemigrate {

// Why the receiver does not read, or what it goes beyond.
enum class SpoolHold : uint32_t {
    kNone,
    kSizeLimit, // until apply has made room
    kFreeDisk,  // until the file system has more space
    kDiskFull,  // the same, told by a write that was refused
    kOversized, // it reads: the limit is exceeded, because waiting would never end
};

// For a set of them; kNone is in none.
constexpr uint32_t
SpoolHoldBit(SpoolHold hold) {
    return hold == SpoolHold::kNone ? 0 : 1U << static_cast<uint32_t>(hold);
}

struct SpoolUse {
    uint64_t size = 0;          // of all segments, with what is buffered
    uint64_t free_disk = 0;     // of the file system, for who is not root
    uint64_t size_limit = 0;    // 0: none
    uint64_t min_free_disk = 0; // 0: none
    // Whether apply, going on, removes a segment without anything new being received.
    bool apply_makes_room = false;
};

struct SpoolRoom {
    SpoolHold hold = SpoolHold::kNone;
    // May be received before the question is asked again; 0 while it must wait.
    uint64_t bytes = std::numeric_limits<uint64_t>::max();
};

// At the limit there is a deadlock to avoid: apply cannot finish a transaction whose end has not
// been received, and its segments stay until then. When nothing else is left to remove, the limit
// gives way. The free-disk guard never does.
SpoolRoom RoomInSpool(const SpoolUse &use);

// The longest segment that lets the limit work: apply frees whole segments, and the one being
// written stays.
uint64_t SegmentSizeUnderLimit(uint64_t segment_size, uint64_t size_limit);

struct SpoolHoldText {
    std::string message; // "waiting for apply: ..."
    std::string hint;
};

// Both empty for kNone.
SpoolHoldText DescribeSpoolHold(SpoolHold hold, uint64_t size_limit, uint64_t min_free_disk);

} // namespace livemigrate
