#include "pg/prelude.hpp"

#include "control/comparison_waits.hpp"

#include "control/source_blockers.hpp"
#include "core/blocker_text.hpp"
#include "core/error.hpp"
#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/sql_row.hpp"

namespace livemigrate::control {

namespace {

using Clock = std::chrono::steady_clock;

// The lock manager is asked for blockers, which stops it for a moment, and the source, too.
constexpr std::chrono::seconds kLookEvery{3};

constexpr char kHoldersQuery[] =
    "SELECT b.pid, COALESCE(h.usename::text, ''), "
    "pg_catalog.date_trunc('second', pg_catalog.clock_timestamp() - h.xact_start) "
    "FROM pg_catalog.unnest($1::int[]) AS w(pid) "
    "JOIN pg_catalog.pg_stat_activity a ON a.pid = w.pid AND a.wait_event_type = 'Lock' "
    "CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(w.pid)) AS b(pid) "
    "LEFT JOIN pg_catalog.pg_stat_activity h ON h.pid = b.pid "
    "ORDER BY h.xact_start LIMIT 1";

void
Tell(const std::string &message, const std::string &hint) {
    pg::Call(
        [&] { ereport(NOTICE, (errmsg("%s", message.c_str()), errhint("%s", hint.c_str()))); });
}

} // namespace

ComparisonWaits::ComparisonWaits(std::string source)
    : monitor_(std::move(source)), next_(Clock::now() + kLookEvery) {}

void
ComparisonWaits::Look(const SharedComparison &shared) {
    if (Clock::now() < next_) {
        return;
    }
    LookHere(shared);
    LookOnSource();
    next_ = Clock::now() + kLookEvery;
}

void
ComparisonWaits::LookHere(const SharedComparison &shared) {
    std::vector<std::string> pids;
    for (const std::atomic<int32_t> &worker : shared.worker_pids) {
        pids.push_back(std::to_string(worker.load()));
    }
    pg::Query("SELECT pg_catalog.pg_stat_clear_snapshot()"); // else it is that of the transaction
    const pg::SqlResult holders = pg::Query(kHoldersQuery, {TextArrayLiteral(pids)});
    if (holders.rows.empty()) {
        told_here_.reset();
        return;
    }
    const pg::SqlRow &holder = holders.rows[0];
    const auto pid = pg::Number<int32_t>(holder, 0);
    if (told_here_ == pid) {
        return;
    }
    told_here_ = pid;
    if (pid == 0) { // so pg_blocking_pids() calls it
        Tell("comparing waits for a lock that a prepared transaction holds on the target",
             "To see them: SELECT * FROM pg_prepared_xacts;");
        return;
    }
    Tell("comparing waits for a lock that " +
             DescribeProcess(std::to_string(pid), pg::Text(holder, 1), holder[2]) +
             " holds on the target",
         "SELECT pg_terminate_backend(" + std::to_string(pid) +
             "); -- on the target, unless that session ends by itself");
}

// A source that cannot be asked is the workers' to tell.
void
ComparisonWaits::LookOnSource() {
    SourceBlockers blockers;
    try {
        const auto unanswered = monitor_.Ask(
            kMostLookTime, [] {},
            [&](source::Connection &source, const source::WaitObserver &observer) {
                blockers = FindHoldersOfOurLocks(source, observer);
            });
        if (unanswered) {
            return;
        }
    } catch (const Error &error) {
        if (error.sqlstate() == sqlstate::kQueryCanceled) {
            throw; // the session was to end the comparison
        }
        return;
    }
    if (blockers.who.empty()) {
        told_on_source_.clear();
    } else if (told_on_source_ != blockers.command) {
        told_on_source_ = blockers.command;
        Tell("comparing waits for a lock on the source" + blockers.who, blockers.command.substr(1));
    }
}

} // namespace livemigrate::control
