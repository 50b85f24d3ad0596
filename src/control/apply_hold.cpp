#include "pg/prelude.hpp"

#include "control/apply_hold.hpp"

#include "core/error.hpp"
#include "pg/guard.hpp"
#include "pg/wait.hpp"

#include <limits>

namespace livemigrate::control {

namespace {

using std::chrono::milliseconds;

// Apply answers within the statement it is in; its wake-up may be lost to another waiter.
constexpr milliseconds kLookInterval{50};

// For a session that sets endpos in a transaction and goes to lunch.
constexpr milliseconds kLongestEndposHold{10'000};

bool
SessionRuns(pid_t pid) {
    return pid != 0 && pg::Call([&] { return BackendPidGetProc(pid) != nullptr; });
}

void
Release(ApplyHold &hold) {
    if (hold.holder_pid.load() == MyProcPid) {
        hold.lsn.store(0);
        hold.held.store(0);
        hold.holder_pid.store(0);
    }
}

// However the session ends, it detaches from the segment.
void
ReleaseAtDetach(dsm_segment *, Datum argument) {
    Release(*reinterpret_cast<ApplyHold *>(DatumGetPointer(argument)));
}

// One session at a time. That of a session which is gone is taken over.
void
Take(ApplyHold &hold) {
    int32_t holder = 0;
    if (hold.holder_pid.compare_exchange_strong(holder, MyProcPid)) {
        return;
    }
    if (SessionRuns(holder) || !hold.holder_pid.compare_exchange_strong(holder, MyProcPid)) {
        throw Error(sqlstate::kObjectInUse, "another session is comparing this migration's data")
            .Detail("It is process " + std::to_string(holder) + ", and apply is held for it.")
            .Hint("Wait until it is done, or run: SELECT pg_cancel_backend(" +
                  std::to_string(holder) + ");");
    }
}

} // namespace

uint64_t
CurrentHold(ApplyHold &hold) {
    uint64_t lsn = hold.lsn.load();
    if (lsn == 0 ||
        (GetCurrentTimestamp() < hold.until.load() && SessionRuns(hold.holder_pid.load()))) {
        return lsn;
    }
    hold.lsn.compare_exchange_strong(lsn, 0);
    return 0;
}

void
HoldForEndpos(EndposHold &hold) {
    hold.holder_pid.store(0);
    hold.transaction.store(pg::TransactionOf(MyProc));
    hold.until.store(GetCurrentTimestamp() + kLongestEndposHold.count() * 1000);
    hold.holder_pid.store(MyProcPid);
}

void
EndHoldForEndpos(EndposHold &hold) {
    int32_t own = MyProcPid;
    hold.holder_pid.compare_exchange_strong(own, 0);
}

pid_t
EndposHolder(const EndposHold &hold) {
    const pid_t holder = hold.holder_pid.load();
    if (holder == 0 || GetCurrentTimestamp() >= hold.until.load()) {
        return 0;
    }
    const PGPROC *process = pg::Call([&] { return BackendPidGetProc(holder); });
    const bool in_transaction =
        process != nullptr && pg::TransactionOf(process) == hold.transaction.load();
    return in_transaction ? holder : 0;
}

HeldApply::Possession::Possession(SharedState &shared) : state(shared) {
    Take(state.hold);
}

HeldApply::Possession::~Possession() {
    Release(state.hold);
    // Not through the guard, which might throw: nothing here raises an error.
    for (const ApplyWorkerState &worker : state.apply) {
        if (PGPROC *apply = BackendPidGetProc(worker.pid.load())) {
            SetLatch(&apply->procLatch);
        }
    }
}

HeldApply::HeldApply(const SharedSegment &segment, milliseconds limit)
    : state_(segment.state()), possession_(state_), limit_(limit) {
    pg::Call([&] {
        on_dsm_detach(dsm_find_mapping(segment.handle()), ReleaseAtDetach,
                      PointerGetDatum(&state_.hold));
    });
    for (ApplyWorkerState &worker : state_.apply) {
        worker.held.store(0);
    }
    state_.hold.held.store(0);
    state_.hold.until.store(GetCurrentTimestamp() + limit.count() * 1000);
    state_.hold.lsn.store(lsn_);
    WaitUntilHeld();
}

void
HeldApply::MoveTo(Lsn lsn) {
    uint64_t here = lsn_;
    lsn_ = lsn.value;
    state_.hold.lsn.compare_exchange_strong(here, lsn_); // else its time is over
    WaitUntilHeld();
}

bool
HeldApply::IsValid() const {
    return state_.hold.lsn.load() == lsn_ && state_.hold.held.load() == lsn_;
}

void
HeldApply::Extend() {
    state_.hold.until.store(std::numeric_limits<int64_t>::max());
}

void
HeldApply::WaitUntilHeld() {
    WakeApply(state_);
    while (state_.hold.held.load() != lsn_) {
        if (state_.hold.lsn.load() != lsn_ || GetCurrentTimestamp() >= state_.hold.until.load()) {
            throw Error(sqlstate::kQueryCanceled,
                        "apply did not come to a common position with the source in time")
                .Detail("The limit is " + std::to_string(limit_.count() / 1000) +
                        " s; apply goes on.")
                .Hint("Compare when the replay lag is low, or raise the limit: SET "
                      "livemigrate.compare_hold_limit = '10min';");
        }
        if (state_.endpos_reached.load() != 0 || state_.coordinator_pid.load() == 0) {
            throw Error(sqlstate::kObjectNotInPrerequisiteState,
                        "apply ended before it came to a common position with the source")
                .Hint("SELECT stage, state, message, hint FROM livemigrate.migration_status();");
        }
        pg::SleepOnLatch(kLookInterval);
    }
}

} // namespace livemigrate::control
