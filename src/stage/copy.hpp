// The data stage's work: one part of one table from the source's snapshot into the target, COPY TO
// on the one side and the in-process COPY FROM on the other.
#pragma once

#include "core/copy_task.hpp"
#include "source/connection.hpp"
#include "stage/copy_format.hpp"

#include <atomic>
#include <cstdint>

namespace livemigrate::stage {

// Live counters, written while rows flow; each may be null.
struct CopyProgress {
    std::atomic<uint64_t> *bytes = nullptr;
    std::atomic<uint64_t> *rows = nullptr;
    std::atomic<int64_t> *silent_since = nullptr; // since when the source owes data; 0: it does not
};

struct CopiedPart {
    uint64_t rows = 0;
    uint64_t bytes = 0;
    uint64_t longest_row = 0; // in bytes as sent; libpq's buffer stays as large as this made it
};

// Opens a session on the source that sees exactly the exported snapshot, read only.
// `silent_since` shows since when a statement of it waits, see ShowSilenceIn(); it may be null.
source::Connection OpenSnapshotSession(const std::string &conninfo, const std::string &snapshot,
                                       std::atomic<int64_t> *silent_since = nullptr);

// Whether the copy may empty the table first and, unless that is small, write its rows frozen,
// which takes a table of one part. kOurs: this migration made the table. kExisting: it was emptied
// before, and is left as it is where a foreign key or a trigger is in the way of TRUNCATE.
enum class Freeze { kNo, kOurs, kExisting };

// Copies the part, with the source's columns of its table (ListCopyColumns), inside the caller's
// open target transaction. Throws Error; the caller's transaction must then be aborted.
CopiedPart CopyPartData(source::Connection &source, const CopyTask &task,
                        const std::vector<CopyColumn> &columns, Freeze freeze,
                        const CopyProgress &progress);

} // namespace livemigrate::stage
