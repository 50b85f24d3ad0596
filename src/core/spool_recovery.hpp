// What SpoolWriter finds when it opens a spool: where the intact records end, and what the stream
// was at when it broke off.
#pragma once

#include "core/spool_directory.hpp"
#include "core/spool_format.hpp"
#include "core/spool_options.hpp"

#include <cstdint>
#include <vector>

namespace livemigrate {

struct SpoolScan {
    // The newest segment, and behind its last intact record; nowhere if there is no segment.
    SpoolPosition end;
    uint32_t seed = 0;   // RecordSeed of that segment
    bool blocks = false; // whether that segment may have blocks
    // Bytes of that segment behind `end`: a torn write.
    uint64_t torn_bytes = 0;
    // A segment behind it whose creation was torn, to be removed; 0 for none.
    uint64_t torn_segment = 0;
    std::vector<uint64_t> finished_sizes; // of the segments before it
    // The last whole transaction that was read: the segment of its commit (0: none) and its end.
    uint64_t last_commit_segment = 0;
    Lsn last_commit_end_lsn;
    Lsn last_end_lsn;
    bool in_transaction = false;
    bool streamed = false; // streamed transactions may be open
};

// Changes nothing. Throws as SpoolWriter documents: for segments of another spool, for damage that
// is no torn tail, and for a spool that ends before options.confirmed_flush_lsn.
SpoolScan ScanSpool(const SpoolDirectory &directory, const SpoolOptions &options);

} // namespace livemigrate
