#include "pg/prelude.hpp"

#include "source/slot_changes.hpp"

#include "core/error.hpp"
#include "core/replication_message.hpp"
#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

#include <algorithm>
#include <array>
#include <iterator>

namespace livemigrate::source {

bool
SlotChanges::AreOffered(int server_version) {
    constexpr int kFirstOf[] = {130021, 140018, 150013, 160009, 170005, 180000};
    constexpr int kMajor = 10000;
    const int major = server_version / kMajor;
    return std::any_of(
               std::begin(kFirstOf), std::end(kFirstOf),
               [&](int first) { return major == first / kMajor && server_version >= first; }) ||
           major > kFirstOf[std::size(kFirstOf) - 1] / kMajor;
}

BacklogState
SlotChanges::Where() {
    const pg::SqlResult result = connection_.Query(
        "SELECT restart_lsn, pg_catalog.pg_current_wal_flush_lsn(), confirmed_flush_lsn"
        " FROM pg_catalog.pg_replication_slots WHERE slot_name = " +
        QuoteLiteral(options_.slot));
    BacklogState state;
    if (!result.rows.empty()) {
        state.restart_lsn = pg::Position(result.rows[0], 0);
        state.source_flushed = pg::Position(result.rows[0], 1);
        state.confirmed = pg::Position(result.rows[0], 2);
    }
    return state;
}

void
SlotChanges::Confirm(Lsn position) {
    StreamOptions from_there = options_;
    from_there.start = position;
    ReplicationStream stream(Connection::Open(conninfo_, ConnectionKind::kReplication));
    // What another server has not written yet it would never send.
    const SystemIdentity server = stream.IdentifySystem();
    if (server.system_identifier != server_.system_identifier ||
        server.timeline != server_.timeline || server.flushed < position) {
        throw Error(sqlstate::kCannotConnect,
                    "the connection string leads to another server than a moment ago");
    }
    stream.Start(from_there);
    std::string status;
    BuildStandbyStatus({.written = position, .flushed = position, .applied = {}}, status);
    stream.Send(status);
    stream.Finish();
}

void
SlotChanges::Read(const Chunk &chunk) {
    // The binary function takes plugins that write text as well, and converts nothing.
    std::string sql =
        "COPY (SELECT lsn, data FROM pg_catalog.pg_logical_slot_peek_binary_changes(" +
        QuoteLiteral(options_.slot) + ", " + QuoteLiteral(chunk.end.ToString()) + ", " +
        std::to_string(chunk.most_changes);
    for (const auto &[name, value] : PluginOptions(options_, connection_.server_version())) {
        sql += ", " + QuoteLiteral(name) + ", " + QuoteLiteral(value);
    }
    connection_.StartCopy(sql + ")) TO STDOUT (FORMAT binary)", PGRES_COPY_OUT);
    reader_ = {};
    at_end_ = false;
}

// A row or the trailer.
std::optional<std::string_view>
SlotChanges::TryMessage() {
    char *message = nullptr;
    const int length = PQgetCopyData(connection_.raw(), &message, 1);
    message_.reset(message);
    if (length == -2) {
        connection_.ThrowConnectionError("lost the replication connection to the source");
    }
    if (length == -1) {
        connection_.FinishCopy();
        at_end_ = true;
    }
    return length > 0 ? std::optional(std::string_view(message, static_cast<size_t>(length)))
                      : std::nullopt;
}

std::optional<SlotChange>
SlotChanges::TryNext() {
    std::array<std::string_view, 2> values;
    for (bool is_row = false; !is_row;) {
        const std::optional<std::string_view> message = TryMessage();
        if (!message) {
            return std::nullopt;
        }
        // Behind the trailer the end of the answer is mostly there already.
        is_row = reader_.ReadRow(*message, values);
    }
    ByteReader lsn(values[0]);
    const SlotChange change{Lsn{lsn.ReadU64()}, values[1]};
    lsn.ExpectEnd();
    return change;
}

} // namespace livemigrate::source
