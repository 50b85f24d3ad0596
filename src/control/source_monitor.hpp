// A session of the source beside those that wait there, to ask who keeps them waiting.
#pragma once

#include "source/connection.hpp"

#include <chrono>
#include <functional>
#include <optional>
#include <string>

namespace livemigrate::control {

// Connects when it is first asked, and keeps the connection until a question fails.
class SourceMonitor {
  public:
    explicit SourceMonitor(std::string conninfo) : conninfo_(std::move(conninfo)) {}

    using Question = std::function<void(source::Connection &, const source::WaitObserver &)>;

    // `meanwhile` is called about once a second while the source has not answered, and may throw.
    // Returns why there was no answer, if the source is gone, lets nobody in or takes longer than
    // `limit`: another time there may be one. Throws every other Error.
    std::optional<Error> Ask(std::chrono::seconds limit, const source::WaitObserver &meanwhile,
                             const Question &question);

    bool
    is_connected() const {
        return connection_.has_value();
    }
    void
    Close() {
        connection_.reset();
    }

  private:
    std::string conninfo_;
    std::optional<source::Connection> connection_;
};

} // namespace livemigrate::control
