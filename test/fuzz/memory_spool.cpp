// Files and the directory of a spool in memory, in the place of core/posix_file and
// core/spool_directory: calls of the system would take most of a fuzz target's time. There is one
// directory, whatever its path; a file's descriptor is its segment.
#include "core/posix_file.hpp"

#include "core/error.hpp"
#include "core/spool_directory.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>

namespace livemigrate {

namespace {

std::map<uint64_t, std::string> &
Files() {
    static std::map<uint64_t, std::string> files;
    return files;
}

std::string &
Bytes(int descriptor) {
    return Files().at(static_cast<uint64_t>(descriptor));
}

File
Open(uint64_t segment, std::string path) {
    return {static_cast<int>(segment), std::move(path)};
}

} // namespace

// ---- core/posix_file ----

void
ThrowErrno(int, const char *, const std::string &) {
    std::abort(); // no call fails here
}

File::~File() = default;

uint64_t
File::Size() const {
    return Bytes(descriptor_).size();
}

size_t
File::ReadAt(uint64_t offset, char *buffer, size_t size) const {
    const std::string &bytes = Bytes(descriptor_);
    return offset < bytes.size() ? bytes.copy(buffer, size, offset) : 0;
}

void
File::WriteAt(uint64_t offset, std::string_view first, std::string_view second) const {
    std::string &bytes = Bytes(descriptor_);
    bytes.resize(std::max<size_t>(bytes.size(), offset + first.size() + second.size()));
    first.copy(bytes.data() + offset, first.size());
    second.copy(bytes.data() + offset + first.size(), second.size());
}

void
File::Truncate(uint64_t size) const {
    Bytes(descriptor_).resize(size);
}

void
File::Sync() const {}

void
File::SyncData() const {}

void
File::StartWriteback(uint64_t, uint64_t) const {}

// ---- core/spool_directory ----

SpoolDirectory::SpoolDirectory(std::string path) : handle_(-1, std::move(path)) {}

void
SpoolDirectory::Lock() {}

std::vector<uint64_t>
SpoolDirectory::Segments() const {
    std::vector<uint64_t> segments;
    for (const auto &[segment, bytes] : Files()) {
        segments.push_back(segment);
    }
    return segments;
}

std::optional<File>
SpoolDirectory::OpenForReading(uint64_t segment) const {
    if (!Exists(segment)) {
        return std::nullopt;
    }
    return Open(segment, SegmentPath(segment));
}

bool
SpoolDirectory::Exists(uint64_t segment) const {
    return Files().contains(segment);
}

File
SpoolDirectory::OpenForWriting(uint64_t segment) const {
    return Open(segment, SegmentPath(segment));
}

File
SpoolDirectory::Create(uint64_t segment) const {
    if (!Files().emplace(segment, "").second) {
        std::abort();
    }
    return Open(segment, SegmentPath(segment));
}

void
SpoolDirectory::Remove(uint64_t segment) const {
    Files().erase(segment);
}

uint64_t
SpoolDirectory::FreeDiskBytes() const {
    return uint64_t{1} << 40;
}

std::string
SpoolDirectory::SegmentPath(uint64_t segment) const {
    return path() + "/" + SegmentName(segment);
}

} // namespace livemigrate
