#include "control/work_directory.hpp"

#include "pg/prelude.hpp"

#include "core/error.hpp"

extern "C" {
#include "common/relpath.h"
}

#include <charconv>
#include <filesystem>
#include <string_view>
#include <system_error>

namespace livemigrate::control {

namespace fs = std::filesystem;

namespace {

constexpr char kRoot[] = "livemigrate"; // below the data directory, where every worker runs

[[noreturn]] void
ThrowFileError(const char *action, const std::string &path, const std::error_code &code) {
    throw Error(code == std::errc::no_space_on_device ? sqlstate::kDiskFull : sqlstate::kIoError,
                std::string("could not ") + action + " \"" + path + "\": " + code.message());
}

void
CreatePrivate(const std::string &path) {
    std::error_code code;
    fs::create_directory(path, code);
    if (code) {
        ThrowFileError("create directory", path, code);
    }
    fs::permissions(path, fs::perms::owner_all, code);
    if (code) {
        ThrowFileError("set permissions of directory", path, code);
    }
}

} // namespace

WorkDirectory::WorkDirectory(uint32_t database, int32_t migration)
    : path_(std::string(DataDir) + "/" + kRoot + "/" + std::to_string(database) + "." +
            std::to_string(migration)) {}

void
WorkDirectory::Create() const {
    CreatePrivate(std::string(DataDir) + "/" + kRoot);
    CreatePrivate(path_);
    CreatePrivate(spool());
}

void
WorkDirectory::Remove() const {
    std::error_code code;
    fs::remove_all(path_, code);
    if (code) {
        ThrowFileError("remove directory", path_, code);
    }
    fs::remove(std::string(DataDir) + "/" + kRoot, code); // only succeeds when it is empty
}

bool
WorkDirectory::Exists() const {
    std::error_code code;
    return fs::is_directory(path_, code);
}

std::vector<UnfinishedMigration>
ListWorkDirectories() {
    std::vector<UnfinishedMigration> found;
    std::error_code code;
    for (const auto &entry : fs::directory_iterator(std::string(DataDir) + "/" + kRoot, code)) {
        const std::string name = entry.path().filename().string();
        const size_t dot = name.find('.');
        if (dot == std::string::npos) {
            continue;
        }
        UnfinishedMigration migration;
        const char *begin = name.data();
        const auto first = std::from_chars(begin, begin + dot, migration.database);
        const auto second =
            std::from_chars(begin + dot + 1, begin + name.size(), migration.migration);
        if (first.ec == std::errc() && second.ec == std::errc() && first.ptr == begin + dot &&
            second.ptr == begin + name.size()) {
            found.push_back(migration);
        }
    }
    return found;
}

void
RemoveWorkDirectories(uint32_t database) noexcept {
    try {
        for (const UnfinishedMigration &found : ListWorkDirectories()) {
            if (found.database == database) {
                WorkDirectory(found.database, found.migration).Remove();
            }
        }
    } catch (...) {
    }
}

bool
DatabaseHasFiles(uint32_t database) {
    // In its default tablespace a database has this file, too.
    const std::string file = "/" + std::to_string(database) + "/PG_VERSION";
    const std::string data = DataDir;
    std::error_code code;
    if (fs::exists(data + "/base" + file, code) || code) {
        return true;
    }
    for (const auto &entry : fs::directory_iterator(data + "/pg_tblspc", code)) {
        if (fs::exists(entry.path().string() + "/" + TABLESPACE_VERSION_DIRECTORY + file, code) ||
            code) {
            return true;
        }
    }
    return static_cast<bool>(code);
}

} // namespace livemigrate::control
