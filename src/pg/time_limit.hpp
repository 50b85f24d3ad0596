// A time after which the statement that runs is cancelled, whatever statement_timeout is: that one
// is armed for what clients send, not for what runs inside.
#pragma once

#include "pg/prelude.hpp"

#include <chrono>

namespace livemigrate::pg {

// While it lives, and once `limit` has passed, the running statement ends with Error 57014, and so
// does any that follows; Expired() tells this from a cancellation by somebody else. One at a time.
class TimeLimit {
  public:
    explicit TimeLimit(std::chrono::milliseconds limit);
    ~TimeLimit();
    TimeLimit(const TimeLimit &) = delete;
    TimeLimit &operator=(const TimeLimit &) = delete;

    bool Expired() const;
};

} // namespace livemigrate::pg
