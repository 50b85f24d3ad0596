// Who keeps a migration waiting, and what ends that: for messages and hints.
#pragma once

#include <optional>
#include <string>

namespace livemigrate {

// "process 4711 (app, since 00:02:10)". How long its transaction is open is not shown to everybody.
std::string DescribeProcess(const std::string &pid, const std::string &role,
                            const std::optional<std::string> &since);

struct PreparedTransaction {
    std::string gid;
    std::string database;
    std::string owner;
    std::string since; // how long it is prepared, or from when on
};

// "prepared transaction 'x' (app, since 00:02:10)".
std::string DescribePrepared(const PreparedTransaction &prepared);

// "in database "shop", as role "app" or a superuser": no other session can end it.
std::string WherePreparedEnds(const PreparedTransaction &prepared);

// "COMMIT PREPARED 'x';" and "ROLLBACK PREPARED 'x';".
std::string CommitPrepared(const PreparedTransaction &prepared);
std::string RollbackPrepared(const PreparedTransaction &prepared);

} // namespace livemigrate
