#include "pg/prelude.hpp"

#include "source/slot_changes.hpp"

#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

#include <array>

namespace livemigrate::source {

bool
SlotChanges::AreOffered(int server_version) {
    return server_version >= 110000;
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
SlotChanges::Advance(Lsn position) {
    const std::string lsn = QuoteLiteral(position.ToString()) + "::pg_catalog.pg_lsn";
    connection_.Query("SELECT pg_catalog.pg_replication_slot_advance(slot_name, " + lsn +
                      ") FROM pg_catalog.pg_replication_slots WHERE slot_name = " +
                      QuoteLiteral(options_.slot) + " AND confirmed_flush_lsn < " + lsn);
}

void
SlotChanges::Read(Lsn end) {
    // The binary function takes plugins that write text as well, and converts nothing.
    std::string sql =
        "COPY (SELECT lsn, data FROM pg_catalog.pg_logical_slot_peek_binary_changes(" +
        QuoteLiteral(options_.slot) + ", " + QuoteLiteral(end.ToString()) + ", NULL";
    for (const auto &[name, value] : PluginOptions(options_, connection_.server_version())) {
        sql += ", " + QuoteLiteral(name) + ", " + QuoteLiteral(value);
    }
    connection_.StartCopy(sql + ")) TO STDOUT (FORMAT binary)", PGRES_COPY_OUT);
    reader_ = {};
    at_end_ = false;
}

std::optional<SlotChange>
SlotChanges::TryNext() {
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
    std::array<std::string_view, 2> values;
    if (length <= 0 || !reader_.ReadRow({message, static_cast<size_t>(length)}, values)) {
        return std::nullopt;
    }
    ByteReader lsn(values[0]);
    const SlotChange change{Lsn{lsn.ReadU64()}, values[1]};
    lsn.ExpectEnd();
    return change;
}

} // namespace livemigrate::source
