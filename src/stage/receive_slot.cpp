#include "pg/prelude.hpp"

#include "stage/receive_slot.hpp"

#include "core/error.hpp"
#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

namespace livemigrate::stage {

void
ThrowSlotIsGone(const std::string &slot) {
    throw Error(sqlstate::kUndefinedObject,
                "replication slot \"" + slot + "\" is gone from the source")
        .Detail("Changes made since then cannot be had any more.")
        .Hint("Start over: SELECT livemigrate.migration_abort();");
}

SlotState
CheckSlot(source::Connection &connection, const ReceiveSettings &settings) {
    const bool has_wal_status = connection.server_version() >= 130000;
    const pg::SqlResult result = connection.Query(
        std::string("SELECT plugin, confirmed_flush_lsn, database = pg_catalog.current_database(), "
                    "active_pid, ") +
        (has_wal_status ? "wal_status" : "'reserved'") +
        " FROM pg_catalog.pg_replication_slots WHERE slot_name = " + QuoteLiteral(settings.slot));
    if (result.rows.empty()) {
        ThrowSlotIsGone(settings.slot);
    }
    const pg::SqlRow &row = result.rows[0];
    if (pg::Text(row, 4) == "lost") {
        throw Error(sqlstate::kObjectNotInPrerequisiteState,
                    "replication slot \"" + settings.slot + "\" has lost changes")
            .Detail("The source removed WAL that the slot needed (max_slot_wal_keep_size).")
            .Hint("Start over: SELECT livemigrate.migration_abort();");
    }
    if (row[3]) {
        throw Error(sqlstate::kObjectInUse, "replication slot \"" + settings.slot +
                                                "\" is in use on the source by process " +
                                                pg::Text(row, 3));
    }
    if (pg::Text(row, 0) != PluginName(settings.plugin) || !pg::Flag(row, 2)) {
        throw Error(sqlstate::kObjectNotInPrerequisiteState,
                    "replication slot \"" + settings.slot +
                        "\" is not the one this migration was started with")
            .Detail("Its plugin is " + pg::Text(row, 0) + ".");
    }
    return {pg::Text(row, 0), pg::Position(row, 1)};
}

void
ThrowLostChanges(Lsn received, const std::string &where, Lsn end) {
    throw Error(sqlstate::kObjectNotInPrerequisiteState,
                "the source no longer has changes that came from it")
        .Detail("Changes up to " + received.ToString() + " were received, but " + where + " at " +
                end.ToString() +
                ": it was failed over to a standby that lacked them, or restored. The target may "
                "have applied some.")
        .Hint("Start over: SELECT livemigrate.migration_abort();");
}

void
CheckSlotIsNotAhead(const std::string &slot, Lsn confirmed_flush, Lsn received) {
    if (confirmed_flush <= received) {
        return;
    }
    throw Error(sqlstate::kObjectNotInPrerequisiteState,
                "replication slot \"" + slot + "\" was moved by somebody else")
        .Detail("Changes up to " + received.ToString() + " were received, and the slot is at " +
                confirmed_flush.ToString() + ": what lies between cannot be had any more.")
        .Hint("Start over: SELECT livemigrate.migration_abort();");
}

Error
DescribeStreamError(const Error &error) {
    if (error.sqlstate() == sqlstate::kUndefinedObject && error.hint().empty() &&
        error.message().find("publication") != std::string::npos) {
        return Error(error.sqlstate(), error.message())
            .Detail("The source looks for it as of each change that it sends: one that is made "
                    "again serves for later changes only.")
            .Hint("If no table of the database was written to in between, make it as it was, then "
                  "run: SELECT livemigrate.migration_resume(); else start over: SELECT "
                  "livemigrate.migration_abort();")
            .Context(error.context());
    }
    if (error.sqlstate() == sqlstate::kUntranslatableCharacter) {
        return Error(error.sqlstate(), error.message())
            .Detail("The source converts text before it sends it, and so cannot send this row.")
            .Hint("Change the value on the source, then start over: SELECT "
                  "livemigrate.migration_abort();")
            .Context(error.context());
    }
    return error;
}

} // namespace livemigrate::stage
