#include "core/blocker_text.hpp"

#include "core/sql_text.hpp"

namespace livemigrate {

std::string
DescribeProcess(const std::string &pid, const std::string &role,
                const std::optional<std::string> &since) {
    return "process " + pid + " (" + role + (since ? ", since " + *since : "") + ")";
}

std::string
DescribePrepared(const PreparedTransaction &prepared) {
    return "prepared transaction " + QuoteLiteral(prepared.gid) + " (" + prepared.owner +
           ", since " + prepared.since + ")";
}

std::string
WherePreparedEnds(const PreparedTransaction &prepared) {
    return "in database " + QuoteIdentifier(prepared.database) + ", as role " +
           QuoteIdentifier(prepared.owner) + " or a superuser";
}

std::string
CommitPrepared(const PreparedTransaction &prepared) {
    return "COMMIT PREPARED " + QuoteLiteral(prepared.gid) + ";";
}

std::string
RollbackPrepared(const PreparedTransaction &prepared) {
    return "ROLLBACK PREPARED " + QuoteLiteral(prepared.gid) + ";";
}

} // namespace livemigrate
