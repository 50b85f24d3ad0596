// The changes of a logical slot by SQL functions: all transactions that commit in a stretch of WAL
// in one answer, instead of a message each. Reading does not move the slot; Confirm() does.
#pragma once

#include "core/backlog_plan.hpp"
#include "core/binary_copy.hpp"
#include "source/replication_stream.hpp"

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace livemigrate::source {

struct SlotChange {
    Lsn lsn;
    std::string_view payload; // until the next call
};

class SlotChanges {
  public:
    // All must outlive the object. The connection may be one for replication, before it streams;
    // `server` is where it leads to, and where `conninfo` led.
    SlotChanges(Connection &connection, const SystemIdentity &server, const std::string &conninfo,
                const StreamOptions &options)
        : connection_(connection), server_(server), conninfo_(conninfo), options_(options) {}

    // Versions that can. Older minor ones are streamed from: pgoutput could be started only so
    // often in one session (PostgreSQL's commit 861e9e4), and each start leaked (c53d90b).
    static bool AreOffered(int server_version);

    // The slot's positions and the source's end of WAL. `received` is left alone.
    BacklogState Where();

    // Nothing that commits before `position`, which is beyond the slot's, is given out again.
    // pg_replication_slot_advance() would decode all that was read once more for it; a walsender
    // takes a client's feedback at its word, once in a session (StartLogicalReplication() in
    // walsender.c leaves streamingDoneReceiving as it is). Throws, and moves nothing, where the
    // connection string leads to another server by now.
    void Confirm(Lsn position);

    // Asks for the transactions that commit before the chunk's end, and perhaps the next one.
    // Throws what the source or its output plugin says.
    void Read(const Chunk &chunk);

    // The next change that has arrived, without waiting; nullopt when there is none.
    std::optional<SlotChange> TryNext();

    // Whether all of what Read() asked for has been returned.
    bool
    at_end() const {
        return at_end_;
    }

  private:
    struct MessageDeleter {
        void
        operator()(char *message) const {
            PQfreemem(message);
        }
    };

    std::optional<std::string_view> TryMessage();

    Connection &connection_;
    const SystemIdentity &server_;
    const std::string &conninfo_;
    const StreamOptions &options_;
    BinaryCopyReader reader_;
    std::unique_ptr<char, MessageDeleter> message_;
    bool at_end_ = true;
};

} // namespace livemigrate::source
