#include "pg/client_binary.hpp"

#include "pg/prelude.hpp"

#include "core/error.hpp"
#include "pg/guc.hpp"

#include <cerrno>
#include <cstring>
#include <sys/stat.h>
#include <unistd.h>

namespace livemigrate::pg {

namespace {

constexpr int kServerMajor = kBuiltForVersion / 10000;

std::string
BinaryDirectory(int major) {
    const std::string configured = ClientBinaryDirectory();
    if (!configured.empty()) {
        return configured;
    }
    const std::string server = my_exec_path;
    std::string directory = server.substr(0, server.rfind('/'));
    const std::string ours = "/" + std::to_string(kServerMajor) + "/";
    const size_t place = directory.rfind(ours);
    if (major != kServerMajor && place != std::string::npos) {
        directory.replace(place, ours.size(), "/" + std::to_string(major) + "/");
    }
    return directory;
}

// The server runs it with all its rights, and gives it the source's password.
void
CheckNobodyElseWrites(const std::string &path, const char *name) {
    struct stat found = {};
    if (stat(path.c_str(), &found) != 0) {
        throw Error(sqlstate::kUndefinedFile,
                    std::string("could not find the program \"") + name + "\"")
            .Detail("\"" + path + "\": " + std::strerror(errno) + ".");
    }
    if ((found.st_uid == 0 || found.st_uid == geteuid()) && (found.st_mode & S_IWOTH) == 0) {
        return;
    }
    throw Error(sqlstate::kUndefinedFile,
                std::string("the program \"") + name + "\" is not used: others could replace it")
        .Detail("\"" + path +
                "\" belongs to neither root nor the server's user, or everybody may write it.")
        .Hint("chown root '" + path + "'; chmod go-w '" + path + "'");
}

} // namespace

std::string
ClientBinary(const char *name, int major) {
    const std::string path = BinaryDirectory(major) + "/" + name;
    if (access(path.c_str(), X_OK) != 0) {
        throw Error(sqlstate::kUndefinedFile,
                    std::string("could not find the program \"") + name + "\"")
            .Detail("There is no executable file \"" + path + "\" on the target server.")
            .Hint("apt-get install postgresql-client-" + std::to_string(major));
    }
    if (!ClientBinaryDirectory().empty()) { // else whoever can replace it can replace the server
        CheckNobodyElseWrites(path, name);
        CheckNobodyElseWrites(path.substr(0, path.rfind('/')), name);
    }
    return path;
}

} // namespace livemigrate::pg
