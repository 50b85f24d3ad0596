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

// Sleeps on the latch; returns early when the latch is set.
void SleepOnLatch(std::chrono::milliseconds duration);

// Serves pending interrupts.
void CheckInterrupts();

// Sets the latch of another process of this server; nothing happens when it is gone.
void WakeProcess(pid_t pid);

} // namespace livemigrate::pg
