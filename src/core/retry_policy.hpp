// Which errors pass by themselves, and how long to wait before the next attempt. Pure functions.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

namespace livemigrate {

// Whether an attempt may succeed later without anybody doing anything (state `retrying`); all other
// errors need a person (state `failed`).
//
// Transient:
//   08xxx  connection trouble, except 08P01: malformed bytes come back malformed (the receiver asks
//          for them a few times all the same, see WorkerPool::Supervise)
//   25P03 25P04 57P05  the session hit a timeout that the next one sets to zero
//   40001 40P01  serialization failure, deadlock
//   53xxx  insufficient resources (memory, connections, a configured limit), except 53100: a full
//          disk is not emptied by waiting, and every attempt would fill it again
//   55006 55P03  object in use (a slot whose old walsender still lives), lock not available
//   57P01 57P02 57P03  server shuts down, crashed, starts up
// Not transient, among others: 28xxx (a wrong password stays wrong, and attempts may lock the
// account), 57014 (somebody cancelled the statement), 58xxx (I/O), XXxxx.
bool IsTransient(std::string_view sqlstate);

// Whether a permanent error met while a table is copied lies in that table's rows, definition or
// rights, so that other tables may well be copied: 0Axxx, 21xxx, 22xxx, 23xxx, 42xxx, 54xxx, and
// P0xxx, raised by its triggers.
bool ConcernsOneTable(std::string_view sqlstate);

inline constexpr std::chrono::milliseconds kMinRetryDelay{1000};
inline constexpr std::chrono::milliseconds kMaxRetryDelay{60000};

// The time from the failure of attempt number `attempt` (1 is the first; less counts as 1) to the
// next: 1 s, 2 s, 4 s ... 60 s, each spread evenly over +-20 % by `random`, any 64 random bits.
std::chrono::milliseconds RetryDelay(int attempt, uint64_t random);

} // namespace livemigrate
