// The streaming replication protocol with the source (PostgreSQL docs, "Streaming Replication
// Protocol"): slots, START_REPLICATION, messages and feedback.
#pragma once

#include "core/lsn.hpp"
#include "core/output_plugin.hpp"
#include "source/connection.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace livemigrate::source {

struct SystemIdentity {
    std::string system_identifier;
    uint32_t timeline = 0;
    Lsn flushed;
    std::string database;
};

struct CreatedSlot {
    Lsn consistent_point;
    std::string snapshot; // valid until the connection's next command
};

struct StreamOptions {
    std::string slot;
    Lsn start;
    Plugin plugin = Plugin::kPgoutput;
    std::vector<std::string> publications; // pgoutput
    // pgoutput, if the source offers it:
    bool streaming = false; // transactions in progress, too
    bool binary = false;    // values by their types' send functions
    std::vector<std::pair<std::string, std::string>> plugin_options; // wal2json
};

// What the output plugin is told, for a source of this version.
std::vector<std::pair<std::string, std::string>> PluginOptions(const StreamOptions &options,
                                                               int server_version);

class ReplicationStream {
  public:
    explicit ReplicationStream(Connection connection) : connection_(std::move(connection)) {}
    ~ReplicationStream();
    ReplicationStream(ReplicationStream &&) = default;

    SystemIdentity IdentifySystem();

    // The same, or an error unless this is the source that a migration began with, and its primary.
    // `timeline` is the one it was last on; 0: not known.
    SystemIdentity IdentifySource(const std::string &system_identifier, uint32_t timeline);

    // Where the server left an earlier timeline, by the history of the one it is on; nullopt if it
    // does not come from there.
    std::optional<Lsn> EndOfTimeline(uint32_t current, uint32_t earlier);

    // Where the timeline that the server is on began; invalid for the first.
    Lsn BeginOfTimeline(uint32_t current);

    // Creates a logical slot and exports its snapshot. Waits for all transactions that are running
    // on the source; the observer is called meanwhile. Temporary slots go with the connection.
    CreatedSlot CreateSlot(const std::string &slot, Plugin plugin, bool temporary,
                           const WaitObserver &observer);

    // Whether the source offers binary values.
    bool OffersBinary() const;

    void Start(const StreamOptions &options);

    // The next message that has arrived, without waiting; nullopt when there is none. The view is
    // valid until the next call. Throws Error 08006 when the source ended the stream.
    std::optional<std::string_view> TryReceive();

    // Reads what the socket holds into libpq's buffer.
    void ConsumeInput();

    void Send(std::string_view message);

    // Ends the stream: returns when the source has seen all that was sent. What comes meanwhile is
    // passed over.
    void Finish();

    Connection &
    connection() {
        return connection_;
    }

  private:
    void FreeMessage();

    Connection connection_;
    char *message_ = nullptr;
};

// The options wal2json is started with; `numeric_as_string` where the plugin has it (2.6).
std::vector<std::pair<std::string, std::string>> Wal2jsonOptions(bool numeric_as_string);

} // namespace livemigrate::source
