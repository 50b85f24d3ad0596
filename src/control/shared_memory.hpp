// The shared memory segment of one migration: made by its coordinator, found by others through the
// handle in livemigrate.migration.
#pragma once

#include "pg/prelude.hpp"

#include "core/error.hpp"
#include "core/shared_state.hpp"

#include <optional>
#include <string>

namespace livemigrate::control {

// Keeps a mapping for as long as it lives. Not copyable; the destructor detaches.
class SharedSegment {
  public:
    // Makes a new segment for the coordinator of `migration`.
    static SharedSegment Create(int32_t migration);

    // Attaches to the segment of a running coordinator; nullopt when there is none: handles do not
    // survive a restart and may be given out again, so the content is checked too.
    static std::optional<SharedSegment> Attach(dsm_handle handle, int32_t migration);

    SharedSegment(SharedSegment &&other) noexcept;
    SharedSegment &operator=(SharedSegment &&other) noexcept;
    ~SharedSegment();

    SharedState &
    state() const {
        return *state_;
    }
    dsm_handle
    handle() const {
        return handle_;
    }

  private:
    SharedSegment(dsm_segment *segment, SharedState *state);

    dsm_segment *segment_ = nullptr;
    SharedState *state_ = nullptr;
    dsm_handle handle_ = 0;
};

void StoreError(SharedError &shared, const Error &error);
Error LoadError(const SharedError &shared);

// Two LSN-like words written by the receiver and read by apply as one (a sequence lock).
void PublishSpoolPosition(SharedState &state, uint64_t segment, uint64_t offset);
void ReadSpoolPosition(const SharedState &state, uint64_t &segment, uint64_t &offset);

// Shows what a worker does now, in its slot and in pg_stat_activity.
void SetDoing(WorkerSlot &slot, const std::string &what);

// For a worker's loops. Workers belong to their coordinator: without it they end, and its successor
// starts new ones.
void CheckCoordinator(const SharedState &state);

void WakeApply(const SharedState &state); // all apply workers

} // namespace livemigrate::control
