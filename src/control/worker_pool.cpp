#include "control/worker_pool.hpp"

#include "control/shared_memory.hpp"
#include "core/retry_policy.hpp"
#include "pg/guard.hpp"
#include "pg/stop_request.hpp"
#include "pg/wait.hpp"

#include <algorithm>
#include <numeric>

namespace livemigrate::control {

using Clock = std::chrono::steady_clock;

namespace {

// A worker that ran this long before it failed starts a new count of attempts.
constexpr std::chrono::seconds kHealthyRun{30};

// So often the receiver asks for a message that came malformed: 7 seconds.
constexpr int kViolationAttempts = 4;

// A worker that was asked to stop and does not is terminated after this long.
constexpr std::chrono::seconds kStopPatience{5};

// So long it may take to end, then it is told, each time.
constexpr std::chrono::seconds kEndPatience{1};

// The postmaster wakes us when a worker has ended; this is for what it does not tell.
constexpr std::chrono::milliseconds kStopPause{50};

bool
IsViolation(WorkerKind kind, const Error &error) {
    return kind == WorkerKind::kReceiver && error.sqlstate() == sqlstate::kProtocolViolation;
}

const char *
TypeName(WorkerKind kind) {
    switch (kind) {
    case WorkerKind::kReceiver:
        return "livemigrate receiver";
    case WorkerKind::kApply:
        return "livemigrate apply worker";
    case WorkerKind::kCopy:
        return "livemigrate copy worker";
    case WorkerKind::kIndex:
        return "livemigrate index worker";
    default:
        return "livemigrate worker";
    }
}

} // namespace

WorkerPool::WorkerPool(SharedState &state, dsm_handle handle, int32_t migration, std::string name,
                       uint32_t owner, std::function<bool(int, bool)> released,
                       std::function<void(pid_t)> lingers)
    : state_(state), handle_(handle), migration_(migration), name_(std::move(name)), owner_(owner),
      released_(std::move(released)), lingers_(std::move(lingers)) {}

WorkerPool::~WorkerPool() {
    for (Worker &worker : workers_) {
        TerminateBackgroundWorker(worker.handle);
    }
}

std::optional<int>
WorkerPool::FreeSlot() const {
    for (size_t i = 0; i < kMaxWorkers; i++) {
        if (state_.workers[i].kind.load() == static_cast<uint32_t>(WorkerKind::kNone)) {
            return static_cast<int>(i);
        }
    }
    return std::nullopt;
}

bool
WorkerPool::Start(WorkerKind kind, int member) {
    const std::optional<int> index = FreeSlot();
    if (!index) {
        return false;
    }
    WorkerSlot &slot = state_.workers[*index];
    slot.outcome.store(static_cast<uint32_t>(WorkerOutcome::kUnknown));
    slot.member.store(static_cast<uint32_t>(member));
    slot.task.store(0);
    slot.task_bytes.store(0);
    slot.task_rows.store(0);
    slot.what[0] = '\0';
    slot.since.store(GetCurrentTimestamp());
    const uint32_t generation = slot.generation.fetch_add(1) + 1;
    slot.kind.store(static_cast<uint32_t>(kind));

    pg::WorkerSpec spec;
    spec.type = TypeName(kind);
    spec.name = spec.type + " for " + name_;
    spec.function = "livemigrate_worker_main";
    spec.arguments = {MyDatabaseId, owner_,  migration_,           static_cast<uint32_t>(*index),
                      generation,   handle_, InvalidTransactionId, 0};
    BackgroundWorkerHandle *handle = nullptr;
    if (!pg::StartWorker(spec, &handle)) {
        slot.kind.store(static_cast<uint32_t>(WorkerKind::kNone));
        missing_[kind] = 1;
        return false;
    }
    workers_.push_back({kind, member, *index, handle, Clock::now()});
    return true;
}

void
WorkerPool::Ensure(WorkerKind kind, int count) {
    if (IsDelayed(kind)) {
        return;
    }
    missing_.erase(kind);
    while (Running(kind) < count) {
        int member = 0;
        while (Runs(kind, member)) {
            member++;
        }
        if (!Start(kind, member)) {
            Miss(kind, count - Running(kind));
            return;
        }
    }
}

void
WorkerPool::EnsureMembers(WorkerKind kind, int count, const std::function<bool(int)> &is_wanted) {
    int &needed = members_[kind];
    needed = 0;
    for (int member = 0; member < count; member++) {
        needed += Runs(kind, member) || is_wanted(member) ? 1 : 0;
    }
    if (IsDelayed(kind)) {
        return;
    }
    missing_.erase(kind);
    for (int member = 0; member < count; member++) {
        if (!Runs(kind, member) && is_wanted(member) && !Start(kind, member)) {
            Miss(kind, needed - Running(kind));
            return;
        }
    }
}

// Of a kind that Start() could not start, if that was for want of a slot of the server.
void
WorkerPool::Miss(WorkerKind kind, int count) {
    if (missing_.contains(kind)) {
        missing_[kind] = count;
    }
}

int
WorkerPool::missing() const {
    return std::accumulate(missing_.begin(), missing_.end(), 0,
                           [](int sum, const auto &kind) { return sum + kind.second; });
}

bool
WorkerPool::Runs(WorkerKind kind, int member) const {
    return std::any_of(workers_.begin(), workers_.end(), [&](const Worker &worker) {
        return worker.kind == kind && worker.member == member;
    });
}

bool
WorkerPool::IsDelayed(WorkerKind kind) const {
    const auto trouble = troubles_.find(kind);
    return trouble != troubles_.end() && Clock::now() < trouble->second.retry_at;
}

void
WorkerPool::Supervise() {
    for (size_t i = 0; i < workers_.size();) {
        const Worker worker = workers_[i];
        pid_t pid = 0;
        const BgwHandleStatus status =
            pg::Call([&] { return GetBackgroundWorkerPid(worker.handle, &pid); });
        if (status == BGWH_STOPPED || status == BGWH_POSTMASTER_DIED) {
            workers_.erase(workers_.begin() + static_cast<long>(i));
            HandleEnded(worker);
            continue;
        }
        const auto trouble = troubles_.find(worker.kind);
        if (trouble != troubles_.end() && worker.started > trouble->second.at &&
            Clock::now() - worker.started > kHealthyRun) {
            troubles_.erase(trouble);
        }
        i++;
    }
}

void
WorkerPool::HandleEnded(const Worker &worker) {
    WorkerSlot &slot = state_.workers[worker.slot];
    const auto outcome = static_cast<WorkerOutcome>(slot.outcome.load());
    Error error(sqlstate::kAdminShutdown,
                std::string(TypeName(worker.kind)) + " ended unexpectedly");
    if (outcome == WorkerOutcome::kFailed) {
        error = LoadError(slot.error);
    }
    slot.pid.store(0);
    slot.kind.store(static_cast<uint32_t>(WorkerKind::kNone));
    pfree(worker.handle);
    if (released_(worker.slot, outcome == WorkerOutcome::kUnknown)) {
        return;
    }
    if (outcome == WorkerOutcome::kFinished) {
        finished_[worker.kind] = true;
        troubles_.erase(worker.kind);
        return;
    }
    if (IsViolation(worker.kind, error)) {
        CountViolation(error);
    } else if (!IsTransient(error.sqlstate())) {
        throw error;
    }
    state_.worker_failures.fetch_add(1);
    Trouble &trouble = troubles_[worker.kind];
    if (Clock::now() - worker.started > kHealthyRun) {
        trouble.attempts = 0;
    }
    trouble.attempts++;
    trouble.at = Clock::now();
    trouble.sqlstate = error.sqlstate();
    trouble.message = error.message();
    trouble.detail = error.detail();
    trouble.hint = error.hint();
    trouble.retry_at = Clock::now() + RetryDelay(trouble.attempts, pg::RandomBits());
}

// The spool has nothing of it, and the source is told of whole transactions only: all since the
// last one comes again. The detail has the position, so the same words mean the same message.
void
WorkerPool::CountViolation(const Error &error) {
    const std::string violation = error.message() + error.detail();
    violations_ = violation == violation_ ? violations_ + 1 : 1;
    violation_ = violation;
    if (violations_ == kViolationAttempts) {
        throw Error(error.sqlstate(), error.message())
            .Detail(error.detail())
            .Hint("It came " + std::to_string(violations_) +
                  " times. If something between source and target changes what it carries, see to "
                  "that; then SELECT livemigrate.migration_resume();");
    }
}

int
WorkerPool::Running(WorkerKind kind) const {
    return static_cast<int>(std::count_if(workers_.begin(), workers_.end(),
                                          [&](const Worker &w) { return w.kind == kind; }));
}

bool
WorkerPool::HasFinished(WorkerKind kind) const {
    const auto found = finished_.find(kind);
    return found != finished_.end() && found->second;
}

void
WorkerPool::ForgetFinished(WorkerKind kind) {
    missing_.erase(kind);
    finished_.erase(kind);
}

// False when the worker has ended. One that has not begun yet finds its place given to somebody
// else; it is not terminated, because in its first instructions it could only die of that.
bool
WorkerPool::AskToStop(Worker &worker) {
    pid_t pid = 0;
    const BgwHandleStatus status =
        pg::Call([&] { return GetBackgroundWorkerPid(worker.handle, &pid); });
    if (status != BGWH_STARTED && status != BGWH_NOT_YET_STARTED) {
        return false;
    }
    if (!worker.told_to_leave) {
        state_.workers[worker.slot].generation.fetch_add(1);
        worker.told_to_leave = true;
    }
    if (status == BGWH_STARTED && !worker.signalled) {
        pg::RequestStop(pid);
        worker.signalled = true;
    }
    return true;
}

void
WorkerPool::Terminate(Worker &worker) {
    const Clock::time_point patience = Clock::now() + kStopPatience;
    while (AskToStop(worker) && Clock::now() < patience) {
        pg::SleepOnLatch(kStopPause);
    }
    pg::Call([&] { TerminateBackgroundWorker(worker.handle); });
    WaitForEnd(worker);
    WorkerSlot &slot = state_.workers[worker.slot];
    slot.pid.store(0);
    slot.kind.store(static_cast<uint32_t>(WorkerKind::kNone));
    pfree(worker.handle);
    released_(worker.slot, false);
}

// As long as it takes: it may still write. One that is in the kernel, or stopped, answers nothing.
void
WorkerPool::WaitForEnd(const Worker &worker) {
    Clock::time_point patience = Clock::now() + kEndPatience;
    for (;;) {
        pid_t pid = 0;
        const BgwHandleStatus status =
            pg::Call([&] { return GetBackgroundWorkerPid(worker.handle, &pid); });
        if (status != BGWH_STARTED && status != BGWH_NOT_YET_STARTED) {
            return;
        }
        if (status == BGWH_STARTED && Clock::now() >= patience) {
            lingers_(pid);
            patience = Clock::now() + kEndPatience;
        }
        pg::SleepOnLatch(kStopPause);
    }
}

void
WorkerPool::Stop(WorkerKind kind) {
    // Ask all of them first, then wait for each.
    for (Worker &worker : workers_) {
        if (worker.kind == kind) {
            AskToStop(worker);
        }
    }
    for (size_t i = 0; i < workers_.size();) {
        if (workers_[i].kind == kind) {
            Worker worker = workers_[i];
            workers_.erase(workers_.begin() + static_cast<long>(i));
            Terminate(worker);
        } else {
            i++;
        }
    }
    troubles_.erase(kind);
    missing_.erase(kind);
}

void
WorkerPool::StopAll() {
    for (Worker &worker : workers_) {
        AskToStop(worker);
    }
    while (!workers_.empty()) {
        Worker worker = workers_.back();
        workers_.pop_back();
        Terminate(worker);
    }
    troubles_.clear();
    violations_ = 0;
    missing_.clear();
}

void
WorkerPool::TryAgain() {
    for (auto &[kind, trouble] : troubles_) {
        trouble.retry_at = Clock::now();
    }
}

const WorkerPool::Trouble *
WorkerPool::trouble() const {
    const Trouble *first = nullptr;
    for (const auto &[kind, trouble] : troubles_) {
        const auto members = members_.find(kind);
        const int needed = members != members_.end() ? std::max(members->second, 1) : 1;
        if (Running(kind) < needed && (first == nullptr || trouble.retry_at < first->retry_at)) {
            first = &trouble;
        }
    }
    return first;
}

} // namespace livemigrate::control
