#include "pg/prelude.hpp"

#include "control/coordinator.hpp"

#include "control/policy_jobs.hpp"
#include "control/version_check.hpp"
#include "core/apply_progress.hpp"
#include "core/retry_policy.hpp"
#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/guc.hpp"
#include "pg/transaction.hpp"
#include "pg/wait.hpp"

#include <algorithm>

namespace livemigrate::control {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

namespace {

// A worker that ends wakes the coordinator; everything else may wait this long.
constexpr milliseconds kRequestInterval{500};

} // namespace

Coordinator::Coordinator(SharedSegment &segment, Migration migration, int64_t checked_at)
    : segment_(segment), state_(segment.state()), migration_(std::move(migration)),
      checked_at_(checked_at), directory_(MyDatabaseId, migration_.id),
      pool_(
          state_, segment.handle(), migration_.id, migration_.settings.name, migration_.owner,
          [this](int slot, bool died) { return ReleaseWork(slot, died); },
          [this](int process) { ShowLingering(process); }),
      monitor_(migration_.settings.source) {}

bool
Coordinator::Run() {
    {
        pg::Transaction transaction;
        SetDsmHandle(migration_.id, segment_.handle());
        CountCoordinatorStart(migration_.id); // whatever comes of it
        // The row is locked now, and may have waited for somebody who had it pause or end.
        const std::optional<Migration> now = LoadMigration(migration_.id);
        const bool is_under_way = now && IsUnderWay(now->state);
        if (is_under_way) {
            migration_.state = now->state;
        } else {
            SetDsmHandle(migration_.id, std::nullopt);
        }
        transaction.Commit();
        if (!is_under_way) {
            return true;
        }
    }
    {
        pg::Transaction transaction;
        KeepWork(migration_.id, std::nullopt);
        BlameClaims(migration_.id, std::nullopt);
        BlameJobs(migration_.id, std::nullopt);
        ReleaseClaims(migration_.id, std::nullopt);
        if (migration_.state == State::kRetrying) {
            TransitionTo(migration_, State::kRunning);
        }
        transaction.Commit();
    }
    state_.apply_workers.store(static_cast<uint32_t>(migration_.settings.apply_jobs));
    try {
        // Until now set_endpos did not find the segment: what it wrote to the row meanwhile counts.
        Reload();
        PublishEndpos();
        RestoreCounters();
        PublishCopyFigures();
        PublishJobFigures();
        WarnOfEmptiedTables();
        while (RunStages()) {
        }
    } catch (const StopRequested &) {
        state_.stop.store(1); // for whoever would count on us, if it was not that which asked
        pool_.StopAll();
        return false; // whoever asked does the rest
    }
    pool_.StopAll();
    KeepCounters();
    pg::Transaction transaction;
    KeepWork(migration_.id, std::pair(SumTables(migration_.id), SumJobs(migration_.id)));
    SetDsmHandle(migration_.id, std::nullopt);
    transaction.Commit();
    return true;
}

void
Coordinator::MeasureRates() {
    uint64_t running = 0;
    for (const WorkerSlot &slot : state_.workers) {
        if (slot.kind.load() == static_cast<uint32_t>(WorkerKind::kCopy)) {
            running += slot.task_bytes.load();
        }
    }
    rates_.Sample(state_, state_.work.copied_bytes.load() + running);
    lag_history_.Sample(migration_.id, migration_.stage, state_);
}

// One pass through the state machine. False: there is nothing left to do for this process.
bool
Coordinator::RunStages() {
    try {
        if (migration_.stage_ended) {
            pg::Transaction transaction;
            EnterStage(migration_, NextStage(migration_.stage));
            transaction.Commit();
        }
        RunStage();
        if (migration_.stage == Stage::kDone) {
            return false;
        }
        if (!EndStage()) {
            return true;
        }
        return migration_.state != State::kPaused || WaitForResume(true);
    } catch (const PauseRequested &) {
        return !EnterPause() || WaitForResume(false);
    } catch (const Error &error) {
        if (state_.stop.load() != 0) {
            throw StopRequested(); // its statement was cancelled for that
        }
        return HandleFailure(error);
    }
}

void
Coordinator::RunStage() {
    rates_.Reset(state_);
    switch (migration_.stage) {
    case Stage::kPreflight:
        return RunPreflightStage();
    case Stage::kSlot:
        return RunSlotStage();
    case Stage::kRoles:
        return RunRolesStage();
    case Stage::kSchema:
        return RunSchemaStage();
    case Stage::kData:
        return RunDataStage();
    case Stage::kIndexes:
        return RunIndexStage();
    case Stage::kCatchup:
        return RunCatchupStage();
    case Stage::kStreaming:
        return RunStreamingStage();
    case Stage::kCutover:
        return RunCutoverStage();
    case Stage::kDone:
        break;
    }
    // What is written before this commit was written with synchronous_commit = off by workers: one
    // synchronous commit makes all of it durable.
    pg::Transaction transaction;
    TransitionTo(migration_, State::kDone);
    ResumePolicyJobs(migration_.id);
    control::SetMessage(migration_.id, "migration is done",
                        "SELECT * FROM livemigrate.compare_data() WHERE NOT equal; "
                        "SELECT livemigrate.migration_cleanup();");
    transaction.Commit();
}

// After trouble that is over.
void
Coordinator::LeaveRetrying() {
    if (migration_.state != State::kRetrying) {
        return;
    }
    pg::Transaction transaction;
    TransitionTo(migration_, State::kRunning);
    ClearError(migration_.id);
    transaction.Commit();
}

// False if it has not ended after all: endpos was set again, later, since apply ended at the old
// one.
bool
Coordinator::EndStage() {
    LeaveRetrying(); // a worker may have been in trouble last, and yet come to the end
    // pause_after may have been changed by migration_resume.
    Reload();
    const auto &pauses = migration_.settings.pause_after;
    const bool pause = std::find(pauses.begin(), pauses.end(), migration_.stage) != pauses.end();
    pg::Transaction transaction;
    if (migration_.stage == Stage::kStreaming && !EndposStands()) {
        transaction.Commit();
        ForgetEnds(state_);
        Reload();
        return false;
    }
    MarkStageEnded(migration_);
    ClearError(migration_.id);
    if (pause) {
        TransitionTo(migration_, State::kPaused);
        control::SetMessage(migration_.id,
                            "paused after stage " + std::string(StageName(migration_.stage)),
                            "SELECT livemigrate.migration_resume();");
    }
    transaction.Commit();
    KeepCounters();
    lag_history_.Sample(migration_.id, migration_.stage, state_, true);
    shown_message_.clear();
    if (pause && migration_.stage >= Stage::kCatchup) {
        pool_.Stop(WorkerKind::kApply);
    }
    return true;
}

// Transient: wait and try again. Otherwise a person is needed. False when nothing must be held.
bool
Coordinator::HandleFailure(const Error &error) {
    // Workers that are not the receiver have no business while the stage is in trouble.
    pool_.Stop(WorkerKind::kCopy);
    pool_.Stop(WorkerKind::kIndex);
    pool_.Stop(WorkerKind::kApply);
    monitor_.Close();
    const bool transient = IsTransient(error.sqlstate());
    if (transient && migration_.state == State::kPaused) {
        // The pause stays a pause: a retry would run past it.
        Event("warning", error.message(), error.detail());
        return WaitForResume(true);
    }
    migration_.attempts++;
    const milliseconds delay = RetryDelay(migration_.attempts, pg::RandomBits());
    const bool is_new = !std::exchange(is_error_recorded_, false);
    while (!KeepFailure(error, is_new, delay)) {
        pg::SleepOnLatch(kRequestInterval);
        if (state_.stop.load() != 0) {
            throw StopRequested();
        }
    }
    shown_message_.clear();
    ereport(LOG,
            (errmsg("livemigrate: migration \"%s\", stage %s: %s", migration_.settings.name.c_str(),
                    std::string(StageName(migration_.stage)).c_str(), error.message().c_str())));
    if (!transient) {
        pool_.StopAll();
        receiver_wanted_ = false;
        return WaitForResume(false);
    }
    const Clock::time_point until = Clock::now() + delay;
    try {
        while (Clock::now() < until && state_.try_again.exchange(0) == 0) {
            pg::SleepOnLatch(std::min<milliseconds>(
                kRequestInterval, std::chrono::duration_cast<milliseconds>(until - Clock::now())));
            CheckRequests();
        }
    } catch (const PauseRequested &) {
        if (EnterPause()) {
            return WaitForResume(false);
        }
    }
    Reload();
    pg::Transaction transaction;
    TransitionTo(migration_, State::kRunning);
    transaction.Commit();
    return true;
}

// False if the request was taken back while the workers ended.
bool
Coordinator::EnterPause() {
    pool_.StopAll();
    receiver_wanted_ = false;
    shown_message_.clear();
    pg::Transaction transaction;
    const std::optional<Migration> now = LoadMigration(migration_.id, true);
    const bool is_wanted = now && now->pause_requested;
    if (is_wanted) {
        TransitionTo(migration_, State::kPaused);
        ClearPauseRequest(migration_.id);
        control::SetMessage(migration_.id,
                            "paused in stage " + std::string(StageName(migration_.stage)),
                            "SELECT livemigrate.migration_resume();");
    }
    transaction.Commit();
    return is_wanted;
}

// A paused or failed migration keeps this process only for what would be lost with it: the
// snapshot, and at a pause point the receiver, so that the source can drop WAL meanwhile.
bool
Coordinator::WaitForResume(bool keep_receiver) {
    if (!SnapshotIsHeld() && !(keep_receiver && receiver_wanted_)) {
        return false;
    }
    rates_.Reset(state_);
    for (;;) {
        pg::SleepOnLatch(kRequestInterval);
        if (state_.stop.load() != 0) {
            throw StopRequested();
        }
        Reload();
        if (migration_.state == State::kRunning) {
            return true;
        }
        if (HasEnded(migration_.state)) {
            throw StopRequested();
        }
        if (keep_receiver && migration_.pause_requested) {
            pool_.StopAll();
            receiver_wanted_ = false;
            pg::Transaction transaction;
            ClearPauseRequest(migration_.id);
            transaction.Commit();
            if (!SnapshotIsHeld()) {
                return false;
            }
        }
        if (keep_receiver && receiver_wanted_) {
            pool_.Supervise();
            pool_.Ensure(WorkerKind::kReceiver, 1);
            lag_history_.Sample(migration_.id, migration_.stage, state_);
        }
        ShowPause(keep_receiver && receiver_wanted_);
        if (SnapshotIsHeld() && !snapshot_session_->IsAlive()) {
            snapshot_session_.reset();
            Event("warning", "the snapshot was lost while the migration was paused",
                  "Tables that are not complete will be copied under a new one.");
            if (!(keep_receiver && receiver_wanted_)) {
                return false;
            }
        }
    }
}

void
Coordinator::Reload() {
    if (!VersionFits(migration_.id)) {
        throw StopRequested();
    }
    pg::Transaction transaction;
    std::optional<Migration> now = LoadMigration(migration_.id);
    transaction.Commit();
    if (!now) {
        throw StopRequested();
    }
    now->attempts = migration_.attempts;
    if (SnapshotIsHeld()) {
        now->snapshot_name = migration_.snapshot_name; // perhaps not in the catalog yet
    }
    migration_ = std::move(*now);
    if (migration_.stage > Stage::kPreflight && migration_.stage < Stage::kDone) {
        jobs_paused_ = PausePolicyJobs(migration_.id, !jobs_paused_);
    }
}

void
Coordinator::CheckRequests() {
    if (state_.stop.load() != 0) {
        throw StopRequested();
    }
    const Clock::time_point now = Clock::now();
    if (now - last_request_check_ < kRequestInterval) {
        return;
    }
    last_request_check_ = now;
    Reload();
    HonorRequests(migration_);
}

// The heart of every waiting loop: workers, requests, the snapshot, the message; then a short rest.
void
Coordinator::Tick(const std::string &message, milliseconds pause) {
    CheckRequests();
    if (migration_.stage >= Stage::kData) {
        PollSource();
    }
    MeasureRates();
    CheckSnapshot(); // first: without it workers fail in many ways
    pool_.Supervise();
    if (state_.try_again.exchange(0) != 0) {
        pool_.TryAgain();
    }
    if (receiver_wanted_) {
        pool_.Ensure(WorkerKind::kReceiver, 1);
    }
    if (trouble() != nullptr) {
        ShowTrouble();
    } else {
        LeaveRetrying();
        const WaitText waits = DescribeWaits();
        SetMessage(message + waits.message, waits.hint);
    }
    pg::SleepOnLatch(pause);
}

void
Coordinator::ShowTrouble() {
    const WorkerPool::Trouble &shown = *trouble();
    if (migration_.state == State::kRetrying && shown_message_ == shown.message &&
        migration_.attempts == shown.attempts) {
        return;
    }
    pg::Transaction transaction;
    const Error error = Error(shown.sqlstate, shown.message).Detail(shown.detail).Hint(shown.hint);
    const auto left = std::chrono::duration_cast<milliseconds>(shown.retry_at - Clock::now());
    RecordError(migration_.id, error, shown.attempts, left.count());
    if (pool_.trouble() != nullptr) { // of a part the events tell already
        RecordEvent(migration_.id, "warning", migration_.stage, shown.message, shown.detail);
    }
    TransitionTo(migration_, State::kRetrying);
    transaction.Commit();
    migration_.attempts = shown.attempts;
    shown_message_ = shown.message;
}

void
Coordinator::SetMessage(const std::string &message, const std::string &hint) {
    if (message == shown_message_ && hint == shown_hint_) {
        return;
    }
    pg::Transaction transaction;
    control::SetMessage(migration_.id, message, hint);
    transaction.Commit();
    shown_message_ = message;
    shown_hint_ = hint;
    pg::Call([&] { pgstat_report_activity(STATE_RUNNING, message.c_str()); });
}

void
Coordinator::Event(const char *severity, const std::string &message, const std::string &detail) {
    pg::Transaction transaction;
    RecordEvent(migration_.id, severity, migration_.stage, message, detail);
    transaction.Commit();
}

// The catalog's endpos for apply, once at the start: from then on set_endpos publishes it itself,
// together with its check that apply has not gone past it. One that it has published since the row
// was read stays.
void
Coordinator::PublishEndpos() {
    uint64_t none = 0;
    state_.endpos.compare_exchange_strong(none, migration_.endpos.value);
}

} // namespace livemigrate::control
