// The messages inside CopyData once START_REPLICATION has begun (PostgreSQL documentation,
// "Streaming Replication Protocol"): what a walsender sends, and the answer to it.
//
// Times are microseconds since 2000-01-01 UTC, as TimestampTz, by the sender's clock.
#pragma once

#include "core/lsn.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

namespace livemigrate {

// 'w': one payload of the output plugin. In a logical stream start_lsn is the position of the
// change (several may share it) and end_lsn is what the walsender fills in for it: the same.
struct XLogData {
    Lsn start_lsn;
    Lsn end_lsn;
    int64_t send_time = 0;
    std::string_view payload; // points into the message parsed
};

// 'k': how far the source is; reply_requested asks for a status update without delay.
struct Keepalive {
    Lsn end_lsn;
    int64_t send_time = 0;
    bool reply_requested = false;
};

using ReplicationMessage = std::variant<XLogData, Keepalive>;

// Throws Error 08P01 for an unknown message type and for a truncated or overlong message.
ReplicationMessage ParseReplicationMessage(std::string_view message);

// 'r': the first bytes not yet written, flushed and applied by us.
struct StandbyStatus {
    Lsn written;
    Lsn flushed; // the slot's confirmed_flush_lsn: the source forgets what lies before
    Lsn applied;
    int64_t client_time = 0;
    bool reply_requested = false;
};

// Replaces what is in `message`, whose capacity is reused.
void BuildStandbyStatus(const StandbyStatus &status, std::string &message);

} // namespace livemigrate
