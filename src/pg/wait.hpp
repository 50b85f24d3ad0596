// Waiting, always on the process latch: with an optional socket or pipe, a timeout and postmaster
// death. Interrupts (cancel, terminate, ProcSignalBarrier) are served before and after.
#pragma once

#include "pg/prelude.hpp"

#include <chrono>
#include <optional>

namespace livemigrate::pg {

struct WaitResult {
    bool latch = false;
    bool readable = false;
    bool writable = false;
    bool timed_out = false;
};

struct WaitRequest {
    pgsocket socket = PGINVALID_SOCKET;
    bool for_read = false;
    bool for_write = false;
    std::optional<std::chrono::milliseconds> timeout; // nullopt waits without end
};

// Throws Error when an interrupt cancels; a terminate request ends the process.
WaitResult Wait(const WaitRequest &request);

// The same for C-like callers inside PostgreSQL callbacks: errors are ereported.
WaitResult WaitRaw(const WaitRequest &request);

// Waits for what comes in on one socket, again and again: what Wait() has to register and forget
// each time, in five system calls, stays registered.
class InputWait {
  public:
    // The socket must stay open for as long. Throws Error when there is no descriptor left.
    explicit InputWait(pgsocket socket);
    ~InputWait();
    InputWait(const InputWait &) = delete;
    InputWait &operator=(const InputWait &) = delete;

    // As the functions above; without a timeout they wait without end.
    WaitResult Wait(std::optional<std::chrono::milliseconds> timeout);
    WaitResult WaitRaw(std::optional<std::chrono::milliseconds> timeout);

  private:
    WaitEventSet *events_;
};

// Sleeps on the latch; returns early when the latch is set.
void SleepOnLatch(std::chrono::milliseconds duration);

// Serves pending interrupts.
void CheckInterrupts();

// Sets the latch of another process of this server; nothing happens when it is gone.
void WakeProcess(pid_t pid);

} // namespace livemigrate::pg
