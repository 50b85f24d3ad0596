#include "pg/client_binary.hpp"

#include "pg/prelude.hpp"

#include "core/error.hpp"
#include "pg/guc.hpp"

#include <unistd.h>

namespace livemigrate::pg {

namespace {

std::string
BinaryDirectory() {
    const std::string configured = ClientBinaryDirectory();
    if (!configured.empty()) {
        return configured;
    }
    const std::string server = my_exec_path;
    return server.substr(0, server.rfind('/'));
}

} // namespace

std::string
ClientBinary(const char *name) {
    const std::string path = BinaryDirectory() + "/" + name;
    if (access(path.c_str(), X_OK) != 0) {
        throw Error(sqlstate::kUndefinedFile,
                    std::string("could not find the program \"") + name + "\"")
            .Detail("There is no executable file \"" + path + "\" on the target server.")
            .Hint("apt-get install postgresql-client-" + std::to_string(kBuiltForVersion / 10000));
    }
    return path;
}

} // namespace livemigrate::pg
