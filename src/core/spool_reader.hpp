// Reads the spool in order, following the writer from segment to segment.
//
// How far it may read comes with each call: the writer's written(), which another process
// publishes, or ScanEnd() when no writer runs. A limit is always where a record ends.
//
// Errors: those of SpoolDirectory; 55000 for a spool of another migration, source or plugin;
// 0A000 for another format version; XX001 for a record below the limit that is not intact, with
// file and offset; 40001 if the file has been cut off before the limit. After an exception the
// reader must be given up.
#pragma once

#include "core/segment_reader.hpp"
#include "core/spool_directory.hpp"
#include "core/spool_format.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace livemigrate {

class SpoolReader {
  public:
    // Starts with the first segment present at the first Next() (`from` is nowhere), at the start
    // of a segment (offset 0), or at a record. Starting at a record in the middle of a pgoutput
    // segment, the descriptions of relations that stand before it are missing.
    SpoolReader(std::string directory, const SpoolIdentity &identity, SpoolPosition from = {});

    // The next record that lies below `limit`; false if there is none.
    bool Next(SpoolPosition limit, SpoolRecord &record);

    // Goes back to a record, or the block that holds it. REQUIRES: its segment is there still.
    void Rewind(SpoolPosition position);

    // Another reader of the same spool, which starts at a record or the block that holds it.
    SpoolReader
    At(SpoolPosition position) const {
        return {directory_.path(), identity_, position};
    }

    // Behind the last record returned.
    SpoolPosition
    position() const {
        return position_;
    }
    // Whether the first record continues a transaction that began in a segment no longer there.
    // Known once Next() has returned true.
    bool
    began_inside_transaction() const {
        return began_inside_transaction_;
    }

    // At most 256 kB, but for a longer record.
    size_t
    buffer_size() const {
        return segment_ ? segment_->buffer_size() : 0;
    }

  private:
    void OpenFirst();
    void Open(uint64_t segment);
    void OpenNext();
    bool TryOpen(uint64_t segment); // false if there is no such file
    [[noreturn]] void ThrowMissing(uint64_t segment) const;
    [[noreturn]] void ThrowCutOff(uint64_t size) const;
    [[noreturn]] void ThrowDamaged() const;

    SpoolDirectory directory_;
    SpoolIdentity identity_;
    SpoolPosition position_;
    std::optional<SegmentReader> segment_;
    uint64_t complete_size_ = 0; // of segment_, once the limit has left it; 0 before
    bool began_inside_transaction_ = false;
};

// Behind the last intact record of a spool that no writer has open; nowhere if it has no segment.
// Changes nothing: cutting a torn tail is the writer's.
SpoolPosition ScanEnd(const std::string &directory, const SpoolIdentity &identity,
                      void (*check_interrupts)() = nullptr);

} // namespace livemigrate
