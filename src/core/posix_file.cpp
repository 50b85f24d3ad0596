#include "core/posix_file.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <sys/stat.h>
#include <sys/uio.h>
#include <system_error>
#include <unistd.h>

namespace livemigrate {

namespace {

// The call again while a signal interrupts it.
template <typename Call>
auto
Retry(Call &&call) {
    decltype(call()) result;
    do {
        result = call();
    } while (result < 0 && errno == EINTR);
    return result;
}

} // namespace

void
ThrowErrno(int error, const char *action, const std::string &path) {
    std::string message = std::string("could not ") + action + " \"" + path +
                          "\": " + std::generic_category().message(error);
    if (error == ENOSPC || error == EDQUOT) {
        throw Error(sqlstate::kDiskFull, std::move(message))
            .Hint("Free space on the file system of the spool, or raise the quota.");
    }
    throw Error(sqlstate::kIoError, std::move(message));
}

File::~File() {
    if (is_open()) {
        ::close(descriptor_);
    }
}

uint64_t
File::Size() const {
    struct stat status;
    if (::fstat(descriptor_, &status) < 0) {
        ThrowErrno(errno, "stat file", path_);
    }
    return static_cast<uint64_t>(status.st_size);
}

size_t
File::ReadAt(uint64_t offset, char *buffer, size_t size) const {
    size_t done = 0;
    while (done < size) {
        const ssize_t count = Retry([&] {
            return ::pread(descriptor_, buffer + done, size - done,
                           static_cast<off_t>(offset + done));
        });
        if (count < 0) {
            ThrowErrno(errno, "read file", path_);
        }
        if (count == 0) {
            break;
        }
        done += static_cast<size_t>(count);
    }
    return done;
}

void
File::WriteAt(uint64_t offset, std::string_view first, std::string_view second) const {
    while (!first.empty() || !second.empty()) {
        const std::array<iovec, 2> parts{{{const_cast<char *>(first.data()), first.size()},
                                          {const_cast<char *>(second.data()), second.size()}}};
        const ssize_t count = Retry([&] {
            return ::pwritev(descriptor_, parts.data(), static_cast<int>(parts.size()),
                             static_cast<off_t>(offset));
        });
        if (count <= 0) {
            // A write of nothing without an error means no space, as PostgreSQL takes it.
            ThrowErrno(count < 0 ? errno : ENOSPC, "write file", path_);
        }
        const size_t written = static_cast<size_t>(count);
        const size_t of_first = std::min(written, first.size());
        first.remove_prefix(of_first);
        second.remove_prefix(written - of_first);
        offset += written;
    }
}

void
File::Truncate(uint64_t size) const {
    if (Retry([&] { return ::ftruncate(descriptor_, static_cast<off_t>(size)); }) < 0) {
        ThrowErrno(errno, "truncate file", path_);
    }
}

void
File::Sync() const {
    if (Retry([&] { return ::fsync(descriptor_); }) < 0) {
        ThrowErrno(errno, "fsync file", path_);
    }
}

void
File::SyncData() const {
    if (Retry([&] { return ::fdatasync(descriptor_); }) < 0) {
        ThrowErrno(errno, "fdatasync file", path_);
    }
}

void
File::StartWriteback([[maybe_unused]] uint64_t offset, [[maybe_unused]] uint64_t size) const {
#ifdef SYNC_FILE_RANGE_WRITE
    const auto start = [&] {
        return ::sync_file_range(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(size),
                                 SYNC_FILE_RANGE_WRITE);
    };
    if (Retry(start) < 0 && errno != ENOSYS) {
        ThrowErrno(errno, "begin to write back file", path_);
    }
#endif
}

} // namespace livemigrate
