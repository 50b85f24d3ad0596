// What a migration waits for, or is in danger of, besides what its stage does: for the status, and
// once as an event.

#include "pg/prelude.hpp"

#include "control/coordinator.hpp"

#include "control/source_blockers.hpp"
#include "core/operator_text.hpp"
#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/transaction.hpp"

namespace livemigrate::control {

using Clock = std::chrono::steady_clock;

namespace {

// Of a source that sends nothing, until it is told: a scan for rows that are rare takes its time.
constexpr std::chrono::microseconds kSilence{std::chrono::seconds(10)};

// The slot is in danger when less than this part of what the source may keep for it is left, and
// out of it when it is twice as much.
constexpr int64_t kDangerPart = 4;

constexpr char kLookAtSessions[] =
    "SELECT pid, state, wait_event_type, wait_event, query FROM pg_catalog.pg_stat_activity WHERE "
    "application_name = 'livemigrate';";

std::string
CopyWorker(const WorkerSlot &slot) {
    return "copy worker, process " + std::to_string(slot.pid.load());
}

} // namespace

void
Coordinator::HonorRequests(const Migration &now) const {
    if (state_.stop.load() != 0 || HasEnded(now.state)) {
        throw StopRequested();
    }
    if (now.pause_requested) {
        throw PauseRequested();
    }
}

void
Coordinator::WaitText::Add(const std::string &more, const std::string &its_hint) {
    if (more.empty()) {
        return;
    }
    message += "; " + more;
    if (hint.empty()) {
        hint = its_hint;
    }
}

Coordinator::WaitText
Coordinator::DescribeWaits() {
    WaitText waits;
    AddSlotDanger(waits);
    if (migration_.stage == Stage::kData) {
        AddLockOnSource(waits);
    }
    const SpoolHoldText spool = WatchSpool();
    waits.Add(spool.message, spool.hint);
    if (const int missing = pool_.missing(); missing > 0) {
        waits.Add("waiting for worker slots (" + std::to_string(missing) +
                      " needed): the server has no more free ones (max_worker_processes = " +
                      std::to_string(max_worker_processes) + "), so fewer workers run at a time",
                  "Nothing to do if that is enough; else run: ALTER SYSTEM SET "
                  "max_worker_processes = " +
                      std::to_string(max_worker_processes + missing) +
                      "; -- then restart the target");
    }
    if (state_.hold.lsn.load() != 0) {
        const std::string holder = std::to_string(state_.hold.holder_pid.load());
        waits.Add("apply is held for a comparison by process " + holder,
                  "It goes on when compare_data() has its snapshots or ends, at the latest after "
                  "livemigrate.compare_hold_limit. To end it: SELECT pg_cancel_backend(" +
                      holder + ");");
    }
    return waits;
}

// Who has the lock is known to the worker alone, whose connection to the source waits.
void
Coordinator::AddLockOnSource(WaitText &waits) {
    bool told = false;
    for (const WorkerSlot &slot : state_.workers) {
        const int32_t holder = slot.source_holder.load();
        if (slot.pid.load() == 0 || holder == 0 || told) {
            continue;
        }
        told = true;
        waits.Add(CopyWorker(slot) + ", is " + slot.what,
                  "The copy goes on as soon as it is released. On the source: " +
                      (holder > 0 ? "SELECT pg_terminate_backend(" + std::to_string(holder) + ");"
                                  : "SELECT gid, database, owner FROM pg_prepared_xacts; -- then "
                                    "there, as that role: COMMIT PREPARED what is named"));
    }
    AddSilence(waits);
}

// What no connection tells: a source that is stopped, or waits for something, keeps its sockets
// open and sends nothing.
void
Coordinator::AddSilence(WaitText &waits) {
    int64_t since = 0;
    bool for_lock = false;
    std::string doing;
    for (const WorkerSlot &slot : state_.workers) {
        const int64_t silent = slot.silent_since.load();
        if (slot.pid.load() != 0 && silent != 0 && (since == 0 || silent < since)) {
            since = silent;
            doing = slot.what;
            for_lock = slot.source_holder.load() != 0;
        }
    }
    if (since == 0 || GetCurrentTimestamp() - since < kSilence.count()) {
        return;
    }
    const char *begin = pg::Call([&] { return timestamptz_to_str(since); });
    const std::string text =
        std::string("no data has come from the source since ") + begin + " (" + doing + ")";
    if (announced_silence_ != since) {
        announced_silence_ = since;
        Event("warning", text, std::string("On the source: ") + kLookAtSessions);
    }
    if (!for_lock) { // which is told already
        waits.Add(text, std::string("See what our sessions do on the source: ") + kLookAtSessions);
    }
}

// A slot that is lost takes the migration with it.
void
Coordinator::AddSlotDanger(WaitText &waits) {
    const int64_t safe = state_.slot_safe_bytes.load();
    const int64_t kept = state_.slot_retained_bytes.load();
    const int64_t least = (kept + safe) / kDangerPart;
    if (kept == 0 || safe < 0 || safe >= 2 * least) {
        slot_in_danger_ = false;
        return;
    }
    if (!slot_in_danger_ && safe >= least) {
        return;
    }
    const std::string text =
        "the slot is in danger: the source keeps " + FormatBytes(static_cast<uint64_t>(kept)) +
        " of WAL for it, and drops it " + FormatBytes(static_cast<uint64_t>(safe)) + " later";
    const std::string hint =
        "On the source, unless its disk is full: ALTER SYSTEM SET max_slot_wal_keep_size = -1; "
        "SELECT pg_reload_conf();" +
        std::string(migration_.state == State::kPaused
                        ? " And here: SELECT livemigrate.migration_resume();"
                        : "");
    if (!slot_in_danger_) {
        slot_in_danger_ = true;
        Event("warning", text, hint);
    }
    waits.Add(text, hint);
}

// What is asked now and then: where there is no answer, it is asked another time.
void
Coordinator::AskMonitor(std::chrono::seconds limit, const SourceMonitor::Question &question) {
    monitor_.Ask(
        limit, [&] { CheckRequests(); }, question);
}

// While a statement on the source waits: who keeps it waiting, or nothing if the source does not
// say, and then the message has why.
std::optional<SourceBlockers>
Coordinator::AskWhoBlocks(const std::string &doing, const FindBlocking &find) {
    std::optional<SourceBlockers> blockers;
    const std::optional<Error> unanswered = monitor_.Ask(
        kMostLookTime, [&] { CheckRequests(); },
        [&](source::Connection &source, const auto &observer) {
            blockers = find(source, observer);
        });
    if (unanswered) {
        SetMessage(doing + ": " + unanswered->MessageWithDetail(),
                   unanswered->hint().empty()
                       ? std::string("See what our sessions do on the source: ") + kLookAtSessions
                       : unanswered->hint());
    }
    return blockers;
}

// For statements on the source that wait, while there is no Tick(): whose lock it is, and requests.
// REQUIRES, when it is called: no transaction is open.
source::WaitObserver
Coordinator::WatchLocks(source::Connection &source, const std::string &doing) {
    const int pid = PQbackendPID(source.raw());
    return [this, pid, doing] {
        CheckRequests();
        const std::optional<SourceBlockers> holders =
            AskWhoBlocks(doing, [pid](source::Connection &monitor, const auto &observer) {
                return FindLockHolders(monitor, pid, observer);
            });
        if (!holders) {
            return;
        }
        if (holders->who.empty()) {
            SetMessage(doing + ": waiting for the source",
                       "To see what it does, on the source: SELECT state, wait_event_type, "
                       "wait_event, query FROM pg_stat_activity WHERE pid = " +
                           std::to_string(pid) + ";");
        } else {
            SetMessage(doing + ": waiting for locks on the source" + holders->who,
                       "The migration goes on as soon as they are released." + holders->command);
        }
    };
}

// For whoever would rather start at another hour than wait for somebody's transaction.
void
Coordinator::CheckSlotTimeout(Clock::time_point began, const std::string &what,
                              const std::optional<SourceBlockers> &blockers) const {
    const auto &limit = migration_.settings.slot_timeout;
    if (!limit ||
        std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - began) < *limit) {
        return;
    }
    throw Error(sqlstate::kObjectNotInPrerequisiteState, "transactions on the source keep " + what +
                                                             " from being made for longer than " +
                                                             "option \"slot_timeout\" allows")
        .Detail(!blockers               ? "The source does not answer which."
                : blockers->who.empty() ? "They have ended meanwhile."
                                        : "Open are" + blockers->who + ".")
        .Hint("End them, or wait for their end." + (blockers ? blockers->command : "") +
              " Then here: SELECT livemigrate.migration_resume();");
}

// While a paused or failed migration keeps its coordinator. A failure's own message stays.
void
Coordinator::ShowPause(bool receives) {
    WaitText waits;
    if (migration_.stage >= Stage::kSlot && migration_.stage < Stage::kCutover) {
        PollSource(false);
        AddSlotDanger(waits);
    }
    if (receives) {
        const SpoolHoldText spool = WatchSpool();
        waits.Add(spool.message, "");
    }
    if (migration_.state != State::kPaused || (waits.message.empty() && !pause_waits_)) {
        return;
    }
    pause_waits_ = !waits.message.empty();
    SetMessage((migration_.stage_ended ? "paused after stage " : "paused in stage ") +
                   std::string(StageName(migration_.stage)) + waits.message,
               waits.hint.empty() ? "SELECT livemigrate.migration_resume();" : waits.hint);
}

// What the worker of the slot had claimed, now that it has ended. Whether its death is blamed on
// that.
bool
Coordinator::ReleaseWork(int slot, bool died) {
    pg::Transaction transaction;
    const bool blamed = died && BlameClaims(migration_.id, slot) > 0;
    if (died) {
        BlameJobs(migration_.id, slot);
    }
    ReleaseClaims(migration_.id, slot);
    transaction.Commit();
    return blamed;
}

// A worker that was to end, and does not. Whoever has us stop sets the message then; of a failure,
// a pause or the end it is there already, unless the migration has been resumed since. Called where
// nothing may throw.
void
Coordinator::ShowLingering(int process) {
    if (state_.stop.load() != 0) {
        return;
    }
    try {
        pg::Transaction transaction;
        const std::optional<Migration> now = LoadMigration(migration_.id);
        transaction.Commit();
        if (now && IsUnderWay(now->state)) {
            SetMessage("waiting for process " + std::to_string(process) + " to end");
        }
    } catch (const Error &) { // it is only a message
    }
}

} // namespace livemigrate::control
