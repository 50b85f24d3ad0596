#include "control/shared_memory.hpp"

#include "pg/guard.hpp"
#include "pg/wait.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace livemigrate {

const char *
WorkerKindName(WorkerKind kind) {
    switch (kind) {
    case WorkerKind::kCoordinator:
        return "coordinator";
    case WorkerKind::kReceiver:
        return "receiver";
    case WorkerKind::kApply:
        return "apply";
    case WorkerKind::kCopy:
        return "copy";
    case WorkerKind::kIndex:
        return "index";
    case WorkerKind::kNone:
        break;
    }
    return "none";
}

} // namespace livemigrate

namespace livemigrate::control {

namespace {

template <size_t N>
void
CopyText(char (&to)[N], const std::string &from) {
    const size_t length = static_cast<size_t>(
        pg_mbcliplen(from.c_str(), static_cast<int>(from.size()), static_cast<int>(N) - 1));
    memcpy(to, from.data(), length);
    to[length] = '\0';
}

// A hint is SQL that can be run as it is: no statement may end in the middle.
std::string
FittingHint(const std::string &hint, size_t size) {
    static constexpr std::string_view kMore = "\n-- and more, which is said after that";
    if (hint.size() < size) {
        return hint;
    }
    const size_t end = hint.rfind(';', size - kMore.size() - 2);
    return end == std::string::npos ? hint : hint.substr(0, end + 1) + std::string(kMore);
}

} // namespace

SharedSegment::SharedSegment(dsm_segment *segment, SharedState *state)
    : segment_(segment), state_(state), handle_(dsm_segment_handle(segment)) {}

SharedSegment
SharedSegment::Create(int32_t migration) {
    dsm_segment *segment = pg::Call([] {
        dsm_segment *made = dsm_create(sizeof(SharedState), 0);
        dsm_pin_mapping(made);
        return made;
    });
    auto *state = new (dsm_segment_address(segment)) SharedState();
    state->migration = migration;
    state->magic = kSharedStateMagic;
    return SharedSegment(segment, state);
}

std::optional<SharedSegment>
SharedSegment::Attach(dsm_handle handle, int32_t migration) {
    if (handle == 0) {
        return std::nullopt;
    }
    // A segment cannot be attached twice in one process; a mapping made before serves again.
    dsm_segment *segment = pg::Call([&]() -> dsm_segment * {
        if (dsm_find_mapping(handle) != nullptr) {
            ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
                            errmsg("shared memory of the migration is already attached")));
        }
        dsm_segment *attached = dsm_attach(handle);
        if (attached != nullptr) {
            dsm_pin_mapping(attached);
        }
        return attached;
    });
    if (segment == nullptr) {
        return std::nullopt;
    }
    auto *state = static_cast<SharedState *>(dsm_segment_address(segment));
    SharedSegment attached(segment, state);
    if (dsm_segment_map_length(segment) < sizeof(SharedState) ||
        state->magic != kSharedStateMagic || state->migration != migration) {
        return std::nullopt;
    }
    return attached;
}

SharedSegment::SharedSegment(SharedSegment &&other) noexcept
    : segment_(std::exchange(other.segment_, nullptr)),
      state_(std::exchange(other.state_, nullptr)), handle_(other.handle_) {}

SharedSegment &
SharedSegment::operator=(SharedSegment &&other) noexcept {
    std::swap(segment_, other.segment_);
    std::swap(state_, other.state_);
    std::swap(handle_, other.handle_);
    return *this;
}

SharedSegment::~SharedSegment() {
    if (segment_ != nullptr) {
        dsm_detach(segment_);
    }
}

void
StoreError(SharedError &shared, const Error &error) {
    CopyText(shared.sqlstate, error.sqlstate());
    CopyText(shared.message, error.message());
    CopyText(shared.detail, error.detail());
    CopyText(shared.hint, FittingHint(error.hint(), sizeof(shared.hint)));
    CopyText(shared.context, error.context());
}

Error
LoadError(const SharedError &shared) {
    return Error(shared.sqlstate, shared.message)
        .Detail(shared.detail)
        .Hint(shared.hint)
        .Context(shared.context);
}

void
PublishSpoolPosition(SharedState &state, uint64_t segment, uint64_t offset) {
    state.written_version.fetch_add(1, std::memory_order_acq_rel);
    state.written_segment.store(segment, std::memory_order_release);
    state.written_offset.store(offset, std::memory_order_release);
    state.written_version.fetch_add(1, std::memory_order_acq_rel);
}

void
ReadSpoolPosition(const SharedState &state, uint64_t &segment, uint64_t &offset) {
    for (;;) {
        const uint32_t before = state.written_version.load(std::memory_order_acquire);
        segment = state.written_segment.load(std::memory_order_acquire);
        offset = state.written_offset.load(std::memory_order_acquire);
        std::atomic_thread_fence(std::memory_order_acquire);
        if ((before & 1) == 0 && state.written_version.load(std::memory_order_acquire) == before) {
            return;
        }
    }
}

void
SetDoing(WorkerSlot &slot, const std::string &what) {
    CopyText(slot.what, what);
    slot.since.store(GetCurrentTimestamp());
    pg::Call([&] { pgstat_report_activity(STATE_RUNNING, slot.what); });
}

void
CheckCoordinator(const SharedState &state) {
    if (state.coordinator_pid.load() == 0) {
        throw Error(sqlstate::kAdminShutdown, "the coordinator has ended");
    }
}

void
WakeApply(const SharedState &state) {
    for (const ApplyWorkerState &worker : state.apply) {
        if (const int32_t pid = worker.pid.load()) {
            pg::WakeProcess(pid);
        }
    }
}

} // namespace livemigrate::control
