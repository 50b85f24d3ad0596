#include "pg/client_binary.hpp"

#include "pg/prelude.hpp"

#include "core/error.hpp"
#include "pg/guc.hpp"

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
    return path;
}

} // namespace livemigrate::pg
