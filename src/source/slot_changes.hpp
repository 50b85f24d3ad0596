// The changes of a logical slot by SQL functions: all transactions that commit in a stretch of WAL
// in one answer, instead of a message each. Reading does not move the slot; Advance() does.
#pragma once

#include "core/backlog_plan.hpp"
#include "core/binary_copy.hpp"
#include "source/replication_stream.hpp"

#include <memory>
#include <optional>
#include <string_view>

namespace livemigrate::source {

struct SlotChange {
    Lsn lsn;
    std::string_view payload; // until the next call
};

class SlotChanges {
  public:
    // Both must outlive the object. The connection may be one for replication, before it streams.
    SlotChanges(Connection &connection, const StreamOptions &options)
        : connection_(connection), options_(options) {}

    // Versions that can: 11 is the first that moves a slot by a function, but before these minor
    // ones that took catalog_xmin beyond what transactions in progress still need (commit aaf9e95
    // of PostgreSQL), and pgoutput could be started only so often in one session.
    static bool AreOffered(int server_version);

    // The slot's positions and the source's end of WAL. `received` is left alone.
    BacklogState Where();

    // Nothing before `position` is asked for again. Does nothing for a position the slot is beyond.
    void Advance(Lsn position);

    // Asks for the transactions that commit before `end`, and perhaps the next one. Throws what the
    // source or its output plugin says.
    void Read(Lsn end);

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
    const StreamOptions &options_;
    BinaryCopyReader reader_;
    std::unique_ptr<char, MessageDeleter> message_;
    bool at_end_ = true;
};

} // namespace livemigrate::source
