#include "pg/wait.hpp"

#include "pg/guard.hpp"

namespace livemigrate::pg {

WaitResult
WaitRaw(const WaitRequest &request) {
    CHECK_FOR_INTERRUPTS();
    int events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
    long timeout = -1;
    if (request.timeout) {
        events |= WL_TIMEOUT;
        timeout = static_cast<long>(request.timeout->count() < 0 ? 0 : request.timeout->count());
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

WaitResult
Wait(const WaitRequest &request) {
    return Call([&] { return WaitRaw(request); });
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
