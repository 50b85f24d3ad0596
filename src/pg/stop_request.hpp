// Stopping a worker that is not needed any more, without a word in the server log.
//
// SIGTERM ends a background worker by a FATAL error, which is logged however ordinary the reason.
// So the coordinator asks with SIGINT, which PostgreSQL takes for a cancelled statement: it
// interrupts lock waits, COPY and long statements alike, is caught by Call, and unwinds the worker
// as Stopped. Connections are closed and transactions rolled back in order.
#pragma once

#include "pg/prelude.hpp"

namespace livemigrate::pg {

// Thrown by Call where a stop request cancelled what it ran. Not an Error: what handles errors must
// not take it for one. A worker's main function catches it.
struct Stopped {};

// Takes SIGINT for a stop request from now on.
void InstallStopHandler();

bool StopIsRequested();

// Asks another process of this server to stop; nothing happens when it is gone.
void RequestStop(pid_t pid);

} // namespace livemigrate::pg
