// The coordinator's workers: started, watched, started again after a transient failure, stopped.
#pragma once

#include "pg/background_worker.hpp"

#include "core/error.hpp"
#include "core/shared_state.hpp"

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace livemigrate::control {

class WorkerPool {
  public:
    // `released` is called with the slot of every worker that ended, so that what it had claimed
    // can be claimed again; `died`: nobody had asked it to, and it left no word. True when what
    // it worked on is held responsible and waits; otherwise its kind does.
    // `lingers` is called with the process of a worker that was terminated and has not ended, again
    // and again.
    WorkerPool(SharedState &state, dsm_handle handle, int32_t migration, std::string name,
               uint32_t owner, std::function<bool(int slot, bool died)> released,
               std::function<void(pid_t process)> lingers);
    ~WorkerPool();

    // Starts workers of the kind until `count` run, unless their last failure is too recent or no
    // worker slot of the server is free.
    void Ensure(WorkerKind kind, int count);

    // Starts those of members 0 to count - 1 that do not run; of these `is_wanted` tells which it
    // needs. Otherwise as Ensure().
    void EnsureMembers(WorkerKind kind, int count, const std::function<bool(int)> &is_wanted);

    // Looks at every worker. One that failed for good: its Error is thrown. A transient failure is
    // remembered; the kind starts again after a delay. So does a receiver that met a malformed
    // message, which may come right when it is sent again, until the same one has come several
    // times.
    void Supervise();

    // The kind has failed lately, and waits before it is started again.
    bool IsDelayed(WorkerKind kind) const;

    int Running(WorkerKind kind) const;
    // A worker of the kind ended because its work is done.
    bool HasFinished(WorkerKind kind) const;
    void ForgetFinished(WorkerKind kind);

    void Stop(WorkerKind kind);
    void StopAll();

    // What keeps a kind from running, for the status: the transient error and its next attempt.
    struct Trouble {
        std::string sqlstate;
        std::string message;
        std::string detail;
        std::string hint;
        int attempts = 0;
        std::chrono::steady_clock::time_point at;
        std::chrono::steady_clock::time_point retry_at;
    };
    const Trouble *trouble() const;
    // The next attempt of each kind is now.
    void TryAgain();
    // For how many workers the server had no free slot when they were last wanted.
    int missing() const;

  private:
    struct Worker {
        WorkerKind kind;
        int member;
        int slot;
        BackgroundWorkerHandle *handle;
        std::chrono::steady_clock::time_point started;
        bool told_to_leave = false; // if it has not begun
        bool signalled = false;
    };

    std::optional<int> FreeSlot() const;
    bool Start(WorkerKind kind, int member);
    void Miss(WorkerKind kind, int count);
    bool Runs(WorkerKind kind, int member) const;

    void HandleEnded(const Worker &worker);
    void CountViolation(const Error &error);
    bool AskToStop(Worker &worker);
    void Terminate(Worker &worker);
    void WaitForEnd(const Worker &worker);

    SharedState &state_;
    dsm_handle handle_;
    int32_t migration_;
    std::string name_;
    uint32_t owner_;
    std::function<bool(int, bool)> released_;
    std::function<void(pid_t)> lingers_;
    std::vector<Worker> workers_;
    std::map<WorkerKind, Trouble> troubles_;
    std::string violation_; // of the protocol, that the receiver met last,
    int violations_ = 0;    // and how often that came
    std::map<WorkerKind, bool> finished_;
    std::map<WorkerKind, int> members_; // that are needed, all of them
    std::map<WorkerKind, int> missing_; // a kind that gets its workers does not speak for others
};

} // namespace livemigrate::control
