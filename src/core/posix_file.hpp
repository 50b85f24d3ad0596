// A file descriptor that closes itself, and the few calls the spool needs on it.
//
// Failures throw Error 53100 (no space, over quota) or 58030, with the path and the system's words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <utility>

namespace livemigrate {

// could not <action> "<path>": <what errno says>
[[noreturn]] void ThrowErrno(int error, const char *action, const std::string &path);

class File {
  public:
    File() = default;
    File(int descriptor, std::string path) : descriptor_(descriptor), path_(std::move(path)) {}
    File(File &&other) noexcept
        : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)) {}
    File &
    operator=(File &&other) noexcept {
        std::swap(descriptor_, other.descriptor_);
        std::swap(path_, other.path_);
        return *this;
    }
    ~File();

    bool
    is_open() const {
        return descriptor_ >= 0;
    }
    int
    descriptor() const {
        return descriptor_;
    }
    const std::string &
    path() const {
        return path_;
    }

    uint64_t Size() const;

    // Reads up to `size` bytes; fewer only at the end of the file.
    size_t ReadAt(uint64_t offset, char *buffer, size_t size) const;

    // Writes both parts one behind the other. After an exception any part of them may be there.
    void WriteAt(uint64_t offset, std::string_view first, std::string_view second = {}) const;

    void Truncate(uint64_t size) const;
    void Sync() const;     // fsync
    void SyncData() const; // fdatasync: data, and the size if it changed

    // Has the system begin to write the range to the disk, without waiting for it. Nothing where
    // the system has no such call.
    void StartWriteback(uint64_t offset, uint64_t size) const;

  private:
    int descriptor_ = -1;
    std::string path_;
};

} // namespace livemigrate
