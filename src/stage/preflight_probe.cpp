#include "pg/prelude.hpp"

#include "stage/preflight_probe.hpp"

#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

#include <chrono>

namespace livemigrate::stage {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kWaitForSnapshot{3};
constexpr std::chrono::seconds kWaitForCancel{10};

// A walsender that waits for other transactions notices neither a closed connection nor
// statement_timeout: it has to be told.
void
CancelStatement(source::Connection &replication, source::Connection &sql) {
    sql.Query("SELECT pg_catalog.pg_cancel_backend(" +
              std::to_string(PQbackendPID(replication.raw())) + ")");
}

ProbeResult
Classify(const Error &error) {
    if (error.sqlstate() == sqlstate::kUndefinedFile) {
        return {ProbeResult::Kind::kMissing, error.message(), {}};
    }
    if (error.sqlstate() == sqlstate::kInsufficientPrivilege &&
        error.message().find("output plugin") != std::string::npos) {
        return {ProbeResult::Kind::kRefused, error.message(), {}};
    }
    // No free slot, wal_level, recovery, rights: each has a check of its own.
    if (error.sqlstate() == sqlstate::kConfigurationLimitExceeded ||
        error.sqlstate() == sqlstate::kObjectNotInPrerequisiteState ||
        error.sqlstate() == sqlstate::kInsufficientPrivilege) {
        return {ProbeResult::Kind::kNotProbed, error.message(), {}};
    }
    return {ProbeResult::Kind::kBroken, error.message(), {}};
}

class Probe {
  public:
    Probe(source::Connection &replication, source::Connection &sql)
        : replication_(replication), sql_(sql),
          slot_("livemigrate_probe_" + std::to_string(MyProcPid)) {}

    ProbeResult
    Run(Plugin plugin) {
        const bool quiet = KeepErrorsOutOfLog();
        const ProbeResult result = Try(plugin);
        if (quiet && PQstatus(replication_.raw()) == CONNECTION_OK) {
            replication_.Query("RESET log_min_messages");
        }
        return result;
    }

  private:
    ProbeResult
    Try(Plugin plugin) {
        ProbeResult result;
        try {
            const std::string position = CreateSlot(plugin);
            result.kind = ProbeResult::Kind::kLoadable;
            if (plugin == Plugin::kWal2json) {
                result.numeric_option = HasNumericOption(position);
            }
        } catch (const Error &error) {
            if (cancelled_ && error.sqlstate() == sqlstate::kQueryCanceled) {
                return {ProbeResult::Kind::kBusy,
                        "open transactions on the source kept a slot from being made",
                        {}};
            }
            if (!IsAnswer()) {
                throw;
            }
            return Classify(error);
        }
        if (result.numeric_option.value_or(true)) {
            DropSlot(); // after an error the source has dropped the temporary slot itself
        }
        return result;
    }

    // What is tried here ends in an error of the source where it lacks something, which would look
    // like trouble in its log. False for a role that may not change what is logged: it leaves up to
    // one such line.
    bool
    KeepErrorsOutOfLog() {
        const char *const may_change =
            replication_.server_version() >= 150000
                ? "pg_catalog.has_parameter_privilege('log_min_messages', 'SET')"
                : "(SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)";
        const pg::SqlResult set = replication_.Query(
            std::string("SELECT pg_catalog.set_config('log_min_messages', 'log', false) WHERE ") +
            may_change);
        return !set.rows.empty();
    }

    // Returns the position where the slot's changes begin.
    std::string
    CreateSlot(Plugin plugin) {
        started_ = Clock::now();
        try {
            const pg::SqlResult slot = replication_.Query(
                "CREATE_REPLICATION_SLOT " + QuoteReplicationName(slot_) + " TEMPORARY LOGICAL " +
                    QuoteReplicationName(PluginName(plugin)) + " NOEXPORT_SNAPSHOT",
                [this] { LimitWait(); });
            return pg::Text(slot.rows.at(0), 1);
        } catch (const Error &) {
            if (!IsAnswer() && !cancelled_ && PQstatus(replication_.raw()) == CONNECTION_OK) {
                CancelStatement(replication_, sql_);
            }
            throw;
        }
    }

    // Whether an error came from the source as the statement's answer; else it is ours.
    bool
    IsAnswer() {
        return PQtransactionStatus(replication_.raw()) == PQTRANS_IDLE;
    }

    void
    LimitWait() {
        const auto waited = Clock::now() - started_;
        if (!cancelled_ && waited >= kWaitForSnapshot) {
            cancelled_ = true;
            CancelStatement(replication_, sql_);
        } else if (waited >= kWaitForSnapshot + kWaitForCancel) {
            throw Error(sqlstate::kConnectionFailure,
                        "the source does not stop creating a temporary replication slot")
                .Detail("It was asked to by pg_cancel_backend().")
                .Hint("SELECT pg_terminate_backend(" +
                      std::to_string(PQbackendPID(replication_.raw())) + ");");
        }
    }

    // An unknown option is an error of the plugin's start, before it reads any WAL.
    bool
    HasNumericOption(const std::string &position) {
        try {
            replication_.Query(
                "SELECT pg_catalog.count(*) FROM pg_catalog.pg_logical_slot_peek_changes(" +
                QuoteLiteral(slot_) + ", " + QuoteLiteral(position) +
                ", 1, 'format-version', '2', 'numeric-data-types-as-string', '1')");
            return true;
        } catch (const Error &) {
            if (!IsAnswer()) {
                throw;
            }
            return false;
        }
    }

    void
    DropSlot() {
        replication_.Query("DROP_REPLICATION_SLOT " + QuoteReplicationName(slot_));
    }

    source::Connection &replication_;
    source::Connection &sql_;
    std::string slot_;
    Clock::time_point started_;
    bool cancelled_ = false;
};

} // namespace

ProbeResult
ProbePlugin(source::Connection &replication, source::Connection &sql, Plugin plugin) {
    return Probe(replication, sql).Run(plugin);
}

} // namespace livemigrate::stage
