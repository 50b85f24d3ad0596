#include "pg/prelude.hpp"

#include "control/source_monitor.hpp"

#include "core/retry_policy.hpp"

namespace livemigrate::control {

using Clock = std::chrono::steady_clock;

std::optional<Error>
SourceMonitor::Ask(std::chrono::seconds limit, const source::WaitObserver &meanwhile,
                   const Question &question) {
    const Clock::time_point until = Clock::now() + limit;
    const auto silent = [] {
        return Error(sqlstate::kConnectionFailure, "the source does not answer");
    };
    try {
        if (!connection_) {
            connection_.emplace(source::Connection::Open(conninfo_, source::ConnectionKind::kSql));
        }
        question(*connection_, [&] {
            meanwhile();
            if (Clock::now() >= until) {
                throw silent();
            }
        });
        return std::nullopt;
    } catch (const Error &error) {
        connection_.reset();
        if (!IsTransient(error.sqlstate())) {
            throw;
        }
        // Also of an attempt to connect.
        return Clock::now() >= until ? silent() : error;
    } catch (...) {
        connection_.reset(); // it is in the middle of a query
        throw;
    }
}

} // namespace livemigrate::control
