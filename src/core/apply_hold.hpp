// A session's request that apply stand still, so that the target can be looked at as of one
// position of the source. Lives in shared memory (core/shared_state).
//
// The session takes `holder_pid`, clears `held`, sets `until` and then `lsn`. Apply begins no
// transaction that commits at or beyond `lsn`; once everything before it is committed on the target
// it stores the same value in `held`. The session may raise `lsn`: apply goes on to the new
// position and tells so again. With `lsn` back at 0 apply goes on. With several apply workers, each
// says in its own state where it stands, and the last of them speaks for all.
//
// A hold ends by itself when `until` has passed or the session is gone: apply then takes `lsn`
// back. So a session that has looked at the target and still finds its `lsn` there was not
// deceived.
#pragma once

#include <atomic>
#include <cstdint>

namespace livemigrate {

// As `lsn`: wherever apply is. Every transaction commits beyond it.
inline constexpr uint64_t kHoldHere = 1;

struct ApplyHold {
    std::atomic<int32_t> holder_pid; // 0: free; taken by compare and exchange
    std::atomic<uint64_t> lsn;       // 0: go on
    std::atomic<uint64_t> held;      // the value of lsn that apply stands at; 0: none
    std::atomic<int64_t> until;      // TimestampTz
};

// A transaction that reads the source's position to make it endpos: until it has published that,
// apply begins no transaction of the source. All that apply has begun was committed on the source
// before the position was read, so apply cannot have gone beyond it. The transaction that stores
// `holder_pid` last has it. Ends by itself when `until` has passed or the transaction has ended.
struct EndposHold {
    std::atomic<int32_t> holder_pid;   // 0: none
    std::atomic<uint32_t> transaction; // the holder's local transaction id
    std::atomic<int64_t> until;        // TimestampTz
};

} // namespace livemigrate
