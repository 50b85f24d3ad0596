// The directory of a spool: one per migration, mode 0700, owned by who runs the server. Segment
// files (mode 0600) are numbered without gaps; any other file in it is left alone.
//
// Errors: 53100 for a full disk, 58030 for other failures of the system, both with its words;
// 55000 for a directory that is missing or open to others; XX001 for a gap.
#pragma once

#include "core/posix_file.hpp"
#include "core/spool_format.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace livemigrate {

class SpoolDirectory {
  public:
    // Opens an existing directory and checks its owner and mode.
    explicit SpoolDirectory(std::string path);

    // Keeps a second writer out for the life of this object. Throws Error 55006 if there is one.
    void Lock();

    // The numbers of the segments present, ascending. Throws Error XX001 if one is missing.
    std::vector<uint64_t> Segments() const;

    std::optional<File> OpenForReading(uint64_t segment) const; // nothing if it does not exist
    bool Exists(uint64_t segment) const;
    File OpenForWriting(uint64_t segment) const;
    File Create(uint64_t segment) const; // must not exist
    void Remove(uint64_t segment) const; // fine if it does not exist

    // Of its file system, for users that are not privileged.
    uint64_t FreeDiskBytes() const;

    // Makes creations and removals durable.
    void
    Sync() const {
        handle_.Sync();
    }

    const std::string &
    path() const {
        return handle_.path();
    }
    std::string SegmentPath(uint64_t segment) const;

  private:
    File handle_;
};

// Removes the segments numbered below keep_from.segment and makes that durable; the newest segment
// always stays, for it carries the position. May run beside the writer and readers of later
// segments. `keep_from` must be a position up to which apply is *flushed* (FlushPositions). Returns
// how many were removed.
uint64_t PruneSpool(const std::string &path, SpoolPosition keep_from);

// Removes the segments and the directory, which must hold nothing else. Fine if there is
// none. Throws Error 55006 while a writer has it open.
void RemoveSpool(const std::string &path);

// The size of all segments; 0 if there is no directory. May run beside everything else.
uint64_t SpoolBytes(const std::string &path);

} // namespace livemigrate
