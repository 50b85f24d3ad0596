#include "pg/wait.hpp"

#include "pg/guard.hpp"

#include <algorithm>

namespace livemigrate::pg {

namespace {

// As PostgreSQL's functions take it.
long
Milliseconds(std::optional<std::chrono::milliseconds> timeout) {
    return timeout ? static_cast<long>(std::max<int64_t>(timeout->count(), 0)) : -1;
}

// What happened, and what is to be done about it at once.
WaitResult
ServeEvents(uint32 got) {
    WaitResult result;
    result.latch = (got & WL_LATCH_SET) != 0;
    result.readable = (got & WL_SOCKET_READABLE) != 0;
    result.writable = (got & WL_SOCKET_WRITEABLE) != 0;
    result.timed_out = (got & WL_TIMEOUT) != 0;
    if (result.latch) {
        ResetLatch(MyLatch);
    }
    CHECK_FOR_INTERRUPTS();
    if (ConfigReloadPending) {
        ConfigReloadPending = false;
        ProcessConfigFile(PGC_SIGHUP);
    }
    return result;
}

} // namespace

WaitResult
WaitRaw(const WaitRequest &request) {
    CHECK_FOR_INTERRUPTS();
    int events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
    const long timeout = Milliseconds(request.timeout);
    if (request.timeout) {
        events |= WL_TIMEOUT;
    }
    if (request.for_read) {
        events |= WL_SOCKET_READABLE;
    }
    if (request.for_write) {
        events |= WL_SOCKET_WRITEABLE;
    }
    const int got =
        request.for_read || request.for_write
            ? WaitLatchOrSocket(MyLatch, events, request.socket, timeout, PG_WAIT_EXTENSION)
            : WaitLatch(MyLatch, events, timeout, PG_WAIT_EXTENSION);
    return ServeEvents(static_cast<uint32>(got));
}

WaitResult
Wait(const WaitRequest &request) {
    return Call([&] { return WaitRaw(request); });
}

InputWait::InputWait(pgsocket socket)
    : events_(Call([&] {
          WaitEventSet *events = NewWaitEventSet(3);
          AddWaitEventToSet(events, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, nullptr);
          AddWaitEventToSet(events, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, nullptr, nullptr);
          AddWaitEventToSet(events, WL_SOCKET_READABLE, socket, nullptr, nullptr);
          return events;
      })) {}

InputWait::~InputWait() {
    FreeWaitEventSet(events_);
}

WaitResult
InputWait::WaitRaw(std::optional<std::chrono::milliseconds> timeout) {
    CHECK_FOR_INTERRUPTS();
    WaitEvent occurred[3];
    const int count =
        WaitEventSetWait(events_, Milliseconds(timeout), occurred, 3, PG_WAIT_EXTENSION);
    uint32 got = count == 0 ? WL_TIMEOUT : 0;
    for (int i = 0; i < count; i++) {
        got |= occurred[i].events;
    }
    return ServeEvents(got);
}

WaitResult
InputWait::Wait(std::optional<std::chrono::milliseconds> timeout) {
    return Call([&] { return WaitRaw(timeout); });
}

void
SleepOnLatch(std::chrono::milliseconds duration) {
    Wait({.timeout = duration});
}

void
CheckInterrupts() {
    if (INTERRUPTS_PENDING_CONDITION()) {
        Call([] { CHECK_FOR_INTERRUPTS(); });
    }
}

void
WakeProcess(pid_t pid) {
    if (pid == 0) {
        return;
    }
    Call([&] {
        PGPROC *process = BackendPidGetProc(pid);
        if (process != nullptr) {
            SetLatch(&process->procLatch);
        }
    });
}

} // namespace livemigrate::pg
