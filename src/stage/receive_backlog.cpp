#include "pg/prelude.hpp"

#include "stage/receive_backlog.hpp"

#include "core/backlog_plan.hpp"
#include "core/error.hpp"
#include "pg/guard.hpp"
#include "pg/guc.hpp"
#include "pg/wait.hpp"
#include "source/slot_changes.hpp"

#include <chrono>
#include <string>

namespace livemigrate::stage {

namespace {

// Apply gets what was received after so many bytes, or when nothing more has come for this long.
constexpr size_t kShownBytes = 256 << 10;
constexpr std::chrono::milliseconds kShownInterval{1000};

// A source that may not or cannot answer in this way can still stream.
bool
IsRefusal(const Error &error) {
    const std::string &state = error.sqlstate();
    return state == sqlstate::kInsufficientPrivilege ||
           state == sqlstate::kConfigurationLimitExceeded ||
           state == sqlstate::kFeatureNotSupported;
}

void
LogRefusal(const Error &error) {
    pg::Call([&] {
        ereport(LOG, (errmsg("a backlog is streamed instead of read in chunks"),
                      errdetail("%s.", error.message().c_str())));
    });
}

// Returns the number of changes.
uint64_t
ReadChunk(source::Connection &connection, source::SlotChanges &changes, Lsn end,
          BacklogSink &sink) {
    uint64_t count = 0;
    size_t unshown = 0;
    changes.Read(end);
    while (!changes.at_end()) {
        if (const auto change = changes.TryNext()) {
            sink.Take(change->lsn, change->payload);
            ++count;
            unshown += change->payload.size();
            if (unshown >= kShownBytes) {
                sink.ShowTaken();
                pg::CheckInterrupts();
                unshown = 0;
            }
        } else if (!changes.at_end()) {
            sink.ShowTaken();
            pg::Wait({.socket = PQsocket(connection.raw()),
                      .for_read = true,
                      .timeout = kShownInterval});
            if (PQconsumeInput(connection.raw()) == 0) {
                connection.ThrowConnectionError("lost the replication connection to the source");
            }
        }
    }
    return count;
}

void
ReadChunks(source::Connection &connection, source::SlotChanges &changes, BacklogSink &sink) {
    BacklogPlan plan(pg::BacklogChunkSize());
    for (;;) {
        BacklogState state = changes.Where();
        state.received = sink.received();
        const std::optional<Lsn> end = plan.NextChunk(state);
        if (!end || !sink.HasRoomFor(end->value - state.received.value)) {
            return;
        }
        changes.Advance(sink.confirmed());
        plan.Brought(ReadChunk(connection, changes, *end, sink));
        changes.Advance(sink.Complete(*end));
    }
}

} // namespace

void
ReceiveBacklog(source::Connection &connection, const source::StreamOptions &options,
               BacklogSink &sink) {
    if (!source::SlotChanges::AreOffered(connection.server_version())) {
        return;
    }
    source::StreamOptions whole = options;
    whole.streaming = false; // the functions return transactions that have committed
    source::SlotChanges changes(connection, whole);
    try {
        ReadChunks(connection, changes, sink);
    } catch (const Error &error) {
        if (!IsRefusal(error)) {
            throw;
        }
        LogRefusal(error);
    }
}

} // namespace livemigrate::stage
