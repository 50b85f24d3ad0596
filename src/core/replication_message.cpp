#include "core/replication_message.hpp"

#include "core/byte_reader.hpp"
#include "core/error.hpp"

namespace livemigrate {

namespace {

constexpr size_t kShownBytes = 16; // enough for the type and the positions, no payload

XLogData
ParseXLogData(ByteReader &reader) {
    XLogData data;
    data.start_lsn.value = reader.ReadU64();
    data.end_lsn.value = reader.ReadU64();
    data.send_time = reader.ReadI64();
    data.payload = reader.ReadRest();
    return data;
}

Keepalive
ParseKeepalive(ByteReader &reader) {
    Keepalive keepalive;
    keepalive.end_lsn.value = reader.ReadU64();
    keepalive.send_time = reader.ReadI64();
    keepalive.reply_requested = reader.ReadU8() != 0;
    reader.ExpectEnd();
    return keepalive;
}

void
AppendBigEndian(uint64_t value, std::string &message) {
    for (int shift = 56; shift >= 0; shift -= 8) {
        message += static_cast<char>(value >> shift & 0xFF);
    }
}

} // namespace

ReplicationMessage
ParseReplicationMessage(std::string_view message) {
    ByteReader reader(message);
    switch (reader.ReadU8()) {
    case 'w':
        return ParseXLogData(reader);
    case 'k':
        return ParseKeepalive(reader);
    default:
        throw Error(sqlstate::kProtocolViolation, "unknown replication message type")
            .Detail("The message has " + std::to_string(message.size()) +
                    " bytes and begins with " + FirstBytes(message, kShownBytes) + ".");
    }
}

void
BuildStandbyStatus(const StandbyStatus &status, std::string &message) {
    message.assign(1, 'r');
    AppendBigEndian(status.written.value, message);
    AppendBigEndian(status.flushed.value, message);
    AppendBigEndian(status.applied.value, message);
    AppendBigEndian(static_cast<uint64_t>(status.client_time), message);
    message += static_cast<char>(status.reply_requested ? 1 : 0);
}

} // namespace livemigrate
