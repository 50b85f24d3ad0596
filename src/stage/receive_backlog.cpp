#include "pg/prelude.hpp"

#include "stage/receive_backlog.hpp"

#include "core/backlog_plan.hpp"
#include "core/error.hpp"
#include "pg/guard.hpp"
#include "pg/guc.hpp"
#include "pg/wait.hpp"
#include "source/slot_changes.hpp"
#include "stage/receive_slot.hpp"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <string>

namespace livemigrate::stage {

namespace {

// Apply gets what was received after so many bytes, or when nothing more has come for this long.
constexpr size_t kShownBytes = 256 << 10;
constexpr std::chrono::milliseconds kShownInterval{1000};

// What the source says when it may not or cannot answer in this way; it can still stream. To
// gather an answer takes memory, and disk space of the source, that streaming does not take.
bool
IsRefusal(const Error &error) {
    static constexpr std::string_view kStates[] = {
        sqlstate::kInsufficientPrivilege, sqlstate::kConfigurationLimitExceeded,
        sqlstate::kFeatureNotSupported,   sqlstate::kDiskFull,
        sqlstate::kOutOfMemory,           sqlstate::kProgramLimitExceeded,
        sqlstate::kInternalError};
    return std::find(std::begin(kStates), std::end(kStates), error.sqlstate()) != std::end(kStates);
}

template <typename F>
auto
AskSource(const F &ask) {
    try {
        return ask();
    } catch (const Error &error) {
        if (IsRefusal(error)) {
            throw BacklogRefused{error.message()};
        }
        throw;
    }
}

ChunkSize
ReadChunk(source::Connection &connection, source::SlotChanges &changes, const Chunk &chunk,
          BacklogSink &sink) {
    ChunkSize brought;
    size_t unshown = 0;
    AskSource([&] { changes.Read(chunk); });
    while (!changes.at_end()) {
        if (const auto change = AskSource([&] { return changes.TryNext(); })) {
            sink.Take(change->lsn, change->payload);
            brought.changes++;
            brought.bytes += change->payload.size();
            unshown += change->payload.size();
            if (unshown >= kShownBytes) {
                sink.ShowTaken();
                unshown = 0;
            }
        } else if (!changes.at_end()) {
            sink.ShowTaken();
            connection.WaitForInput(kShownInterval);
        }
    }
    return brought;
}

// Takes a session more. Without one the backlog is streamed: feedback goes along with that.
void
Confirm(source::SlotChanges &changes, Lsn position) {
    try {
        changes.Confirm(position);
    } catch (const Error &error) {
        throw BacklogRefused{error.message() +
                             (error.detail().empty() ? "" : ": " + error.detail())};
    }
}

// Between two calls nobody holds the slot: whoever moves it then takes changes away.
BacklogState
Look(source::SlotChanges &changes, const std::string &slot, BacklogSink &sink) {
    BacklogState state = AskSource([&] { return changes.Where(); });
    state.received = sink.received();
    CheckSlotIsNotAhead(slot, state.confirmed, state.received);
    return state;
}

// Nothing is sent while the source gathers an answer, so that it would not see that we are gone,
// and keep the slot in use. What it gathers lies on the disk of a database that is in use; only
// some roles may say how much of that.
void
PrepareSession(source::Connection &connection) {
    connection.EndWithClient();
    try {
        connection.Query("SELECT pg_catalog.set_config('temp_file_limit', '2GB', false) "
                         "WHERE pg_catalog.current_setting('temp_file_limit') = '-1'");
    } catch (const Error &error) {
        if (error.sqlstate() != sqlstate::kInsufficientPrivilege) {
            throw;
        }
    }
}

void
ReadChunks(source::Connection &connection, source::SlotChanges &changes, const std::string &slot,
           BacklogSink &sink) {
    BacklogPlan plan(pg::BacklogChunkSize());
    for (;;) {
        const BacklogState state = Look(changes, slot, sink);
        const std::optional<Chunk> chunk = plan.NextChunk(state);
        if (!chunk || !sink.HasRoomFor(chunk->end.value - state.received.value)) {
            return;
        }
        const Lsn confirmed = sink.confirmed();
        if (state.confirmed < confirmed) {
            Confirm(changes, confirmed);
        }
        const ChunkSize brought = ReadChunk(connection, changes, *chunk, sink);
        // Still where it was: so the chunk began there.
        const BacklogState read = AskSource([&] { return changes.Where(); });
        CheckSlotIsNotAhead(slot, read.confirmed, state.received);
        // With the last change that was asked for its transaction has ended, and nothing behind it
        // has come.
        const Lsn reached = brought.changes < chunk->most_changes ? chunk->end : sink.received();
        plan.Brought(brought, reached);
        const Lsn safe = sink.Complete(reached);
        if (read.confirmed < safe) {
            Confirm(changes, safe);
        }
    }
}

} // namespace

void
ReceiveBacklog(source::Connection &connection, const source::SystemIdentity &server,
               const std::string &conninfo, const source::StreamOptions &options,
               BacklogSink &sink) {
    if (!source::SlotChanges::AreOffered(connection.server_version())) {
        return;
    }
    source::StreamOptions whole = options;
    whole.streaming = false; // the functions return transactions that have committed
    source::SlotChanges changes(connection, server, conninfo, whole);
    PrepareSession(connection);
    ReadChunks(connection, changes, options.slot, sink);
}

void
LogRefusal(const BacklogRefused &refusal) {
    pg::Call([&] {
        ereport(LOG, (errmsg("a backlog is streamed instead of read in chunks"),
                      errdetail("%s.", refusal.why.c_str())));
    });
}

} // namespace livemigrate::stage
