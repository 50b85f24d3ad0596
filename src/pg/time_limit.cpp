#include "pg/time_limit.hpp"

#include "pg/guard.hpp"

#include <algorithm>
#include <csignal>

extern "C" {
#include "utils/timeout.h"
}

namespace livemigrate::pg {

namespace {

volatile sig_atomic_t expired = 0;

// In the handler of SIGALRM: as a cancel request.
void
CancelStatement() {
    expired = 1;
    InterruptPending = true;
    QueryCancelPending = true;
    SetLatch(MyLatch);
}

TimeoutId
Timeout() {
    static const TimeoutId id = Call([] { return RegisterTimeout(USER_TIMEOUT, CancelStatement); });
    return id;
}

} // namespace

TimeLimit::TimeLimit(std::chrono::milliseconds limit) {
    const TimeoutId id = Timeout();
    expired = 0;
    const auto delay = static_cast<int>(std::clamp<int64_t>(limit.count(), 1, INT_MAX));
    Call([&] { enable_timeout_after(id, delay); });
}

TimeLimit::~TimeLimit() {
    disable_timeout(Timeout(), false);
    if (expired != 0) {
        QueryCancelPending = false; // it came when the last statement had ended
    }
}

bool
TimeLimit::Expired() const {
    return expired != 0;
}

} // namespace livemigrate::pg
