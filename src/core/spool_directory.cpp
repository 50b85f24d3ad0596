#include "core/spool_directory.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

namespace livemigrate {

namespace {

constexpr mode_t kFileMode = S_IRUSR | S_IWUSR;
constexpr mode_t kModesOfOthers = S_IRWXG | S_IRWXO;

// A listing may miss what is created or removed while it is made, so a gap is only believed when it
// stays.
constexpr int kListAttempts = 5;

struct CloseDirectory {
    void
    operator()(DIR *directory) const {
        ::closedir(directory);
    }
};

// -1 with errno ENOENT if there is none; any other failure is thrown.
int
OpenDirectory(const std::string &path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0 && errno != ENOENT) {
        ThrowErrno(errno, "open directory", path);
    }
    return descriptor;
}

// The segments in an open directory, ascending, whether there are gaps or not.
std::vector<uint64_t>
ListSegments(const File &handle) {
    // Not a duplicate of the descriptor: that would share its read position.
    const int descriptor = ::openat(handle.descriptor(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) {
        ThrowErrno(errno, "open directory", handle.path());
    }
    const std::unique_ptr<DIR, CloseDirectory> directory(::fdopendir(descriptor));
    if (!directory) {
        const int error = errno;
        ::close(descriptor);
        ThrowErrno(error, "open directory", handle.path());
    }
    std::vector<uint64_t> segments;
    errno = 0;
    while (const dirent *entry = ::readdir(directory.get())) {
        if (const auto segment = ParseSegmentName(entry->d_name); segment && *segment != 0) {
            segments.push_back(*segment);
        }
    }
    if (errno != 0) {
        ThrowErrno(errno, "read directory", handle.path());
    }
    std::sort(segments.begin(), segments.end());
    return segments;
}

// The first number that is missing between two segments; 0 if none is.
uint64_t
FindGap(const std::vector<uint64_t> &segments) {
    for (size_t i = 1; i < segments.size(); ++i) {
        if (segments[i] != segments[i - 1] + 1) {
            return segments[i - 1] + 1;
        }
    }
    return 0;
}

void
LockDirectory(const File &handle) {
    if (::flock(handle.descriptor(), LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK) {
            throw Error(sqlstate::kObjectInUse,
                        "spool directory \"" + handle.path() + "\" is in use by a writer");
        }
        ThrowErrno(errno, "lock directory", handle.path());
    }
}

void
UnlinkSegment(const File &handle, uint64_t segment) {
    const std::string name = SegmentName(segment);
    if (::unlinkat(handle.descriptor(), name.c_str(), 0) < 0 && errno != ENOENT) {
        ThrowErrno(errno, "remove file", handle.path() + "/" + name);
    }
}

} // namespace

SpoolDirectory::SpoolDirectory(std::string path) {
    const int descriptor = OpenDirectory(path);
    if (descriptor < 0) {
        throw Error(sqlstate::kObjectNotInPrerequisiteState,
                    "spool directory \"" + path + "\" does not exist")
            .Hint("If its volume is not mounted, mount it. Without the spool the migration must "
                  "be started anew.");
    }
    handle_ = File(descriptor, std::move(path));
    struct stat status;
    if (::fstat(descriptor, &status) < 0) {
        ThrowErrno(errno, "stat directory", handle_.path());
    }
    if (status.st_uid != ::geteuid() || (status.st_mode & kModesOfOthers) != 0) {
        throw Error(sqlstate::kObjectNotInPrerequisiteState,
                    "spool directory \"" + handle_.path() + "\" is not private to the server")
            .Detail("It holds rows of the source. It must belong to the user who runs the server "
                    "and have mode 0700.")
            .Hint("Correct it with chown and chmod.");
    }
}

void
SpoolDirectory::Lock() {
    LockDirectory(handle_);
}

std::vector<uint64_t>
SpoolDirectory::Segments() const {
    for (int attempt = 1;; ++attempt) {
        std::vector<uint64_t> segments = ListSegments(handle_);
        const uint64_t missing = FindGap(segments);
        if (missing == 0) {
            return segments;
        }
        if (attempt == kListAttempts) {
            throw Error(sqlstate::kDataCorrupted,
                        "spool segment \"" + SegmentPath(missing) + "\" is missing")
                .Detail("Segments before and after it are there.")
                .Hint("Put the file back and run: SELECT livemigrate.migration_resume(); "
                      "without it the changes in it are lost, so start over: SELECT "
                      "livemigrate.migration_abort();");
        }
    }
}

std::optional<File>
SpoolDirectory::OpenForReading(uint64_t segment) const {
    const int descriptor = ::openat(handle_.descriptor(), SegmentName(segment).c_str(),
                                    O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (descriptor < 0) {
        if (errno == ENOENT) {
            return std::nullopt;
        }
        ThrowErrno(errno, "open file", SegmentPath(segment));
    }
    return File(descriptor, SegmentPath(segment));
}

bool
SpoolDirectory::Exists(uint64_t segment) const {
    const std::string name = SegmentName(segment);
    return ::faccessat(handle_.descriptor(), name.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

File
SpoolDirectory::OpenForWriting(uint64_t segment) const {
    const int descriptor = ::openat(handle_.descriptor(), SegmentName(segment).c_str(),
                                    O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (descriptor < 0) {
        ThrowErrno(errno, "open file", SegmentPath(segment));
    }
    return File(descriptor, SegmentPath(segment));
}

File
SpoolDirectory::Create(uint64_t segment) const {
    const int descriptor = ::openat(handle_.descriptor(), SegmentName(segment).c_str(),
                                    O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kFileMode);
    if (descriptor < 0) {
        ThrowErrno(errno, "create file", SegmentPath(segment));
    }
    return File(descriptor, SegmentPath(segment));
}

void
SpoolDirectory::Remove(uint64_t segment) const {
    UnlinkSegment(handle_, segment);
}

uint64_t
SpoolDirectory::FreeDiskBytes() const {
    struct statvfs status;
    if (::fstatvfs(handle_.descriptor(), &status) < 0) {
        ThrowErrno(errno, "stat the file system of", handle_.path());
    }
    return uint64_t{status.f_bavail} * status.f_frsize;
}

std::string
SpoolDirectory::SegmentPath(uint64_t segment) const {
    return handle_.path() + "/" + SegmentName(segment);
}

uint64_t
PruneSpool(const std::string &path, SpoolPosition keep_from) {
    const SpoolDirectory directory(path);
    const std::vector<uint64_t> segments = directory.Segments();
    uint64_t removed = 0;
    // Ascending, so that a crash in between leaves no gap.
    for (size_t i = 0; i + 1 < segments.size() && segments[i] < keep_from.segment; ++i) {
        directory.Remove(segments[i]);
        ++removed;
    }
    if (removed > 0) {
        directory.Sync();
    }
    return removed;
}

void
RemoveSpool(const std::string &path) {
    const int descriptor = OpenDirectory(path);
    if (descriptor < 0) {
        return;
    }
    const File handle(descriptor, path);
    LockDirectory(handle);
    for (uint64_t segment : ListSegments(handle)) {
        UnlinkSegment(handle, segment);
    }
    if (::rmdir(path.c_str()) < 0 && errno != ENOENT) {
        ThrowErrno(errno, "remove directory", path);
    }
}

uint64_t
SpoolBytes(const std::string &path) {
    const int descriptor = OpenDirectory(path);
    if (descriptor < 0) {
        return 0;
    }
    const File handle(descriptor, path);
    uint64_t bytes = 0;
    for (uint64_t segment : ListSegments(handle)) {
        struct stat status;
        const std::string name = SegmentName(segment);
        if (::fstatat(descriptor, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) {
            bytes += static_cast<uint64_t>(status.st_size);
        } else if (errno != ENOENT) { // pruned meanwhile
            ThrowErrno(errno, "stat file", path + "/" + name);
        }
    }
    return bytes;
}

} // namespace livemigrate
