// Receives a backlog in chunks, through the SQL functions of the slot, until streaming is the
// better way (core/backlog_plan).
#pragma once

#include "core/lsn.hpp"
#include "source/replication_stream.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace livemigrate::stage {

// Where the changes go: the receiver.
class BacklogSink {
  public:
    virtual ~BacklogSink() = default;
    // Whether so much WAL may become changes in the spool.
    virtual bool HasRoomFor(uint64_t bytes_of_wal) = 0;
    virtual void Take(Lsn lsn, std::string_view payload) = 0;
    // Now and then: what was taken becomes visible to apply.
    virtual void ShowTaken() = 0;
    // Everything that commits before `end` has been taken. Makes it durable, and returns the
    // position that the source may be told.
    virtual Lsn Complete(Lsn end) = 0;
    // What the source may be told now, and what is received.
    virtual Lsn confirmed() = 0;
    virtual Lsn received() = 0;
};

// The source refuses to go on in this way (rights, temp_file_limit); it can still stream. Not in
// the same session: an error leaves what an output plugin remembers of tables in disorder there
// (commit b46efe9 of PostgreSQL).
struct BacklogRefused {
    std::string why;
};

// Throws Error as streaming would: connection, slot, output plugin, spool; and BacklogRefused.
void ReceiveBacklog(source::Connection &connection, const source::SystemIdentity &server,
                    const std::string &conninfo, const source::StreamOptions &options,
                    BacklogSink &sink);

// Tells the log.
void LogRefusal(const BacklogRefused &refusal);

} // namespace livemigrate::stage
