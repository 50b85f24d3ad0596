// The stages and states of a migration, and which state may follow which: doc/state_machine.md.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace livemigrate {

// In the order of the workflow; compare with < and >.
enum class Stage : uint8_t {
    kPreflight, // ends when no check is at error
    kSlot,      // slot made, snapshot held, changes are being spooled
    kRoles,     // roles exist on the target
    kSchema,    // pre-data objects exist
    kData,      // every part and large object is copied
    kIndexes,   // indexes, constraints and triggers exist, tables analyzed
    kCatchup,   // the spool is applied and the lag is small
    kStreaming, // lasts until endpos is reached
    kCutover,   // sequences set, materialized views refreshed
    kDone,
};
inline constexpr int kStageCount = 10;

enum class State : uint8_t {
    kRunning,  /* next states: kPaused, kRetrying, kFailed, kDone, kAborted */
    kPaused,   /* next states: kRunning, kFailed, kAborted */
    kRetrying, /* next states: kRunning, kPaused, kFailed, kAborted */
    kFailed,   /* next states: kRunning, kAborted */
    kDone,     /* next states: none */
    kAborted,  /* next states: none */
};
inline constexpr int kStateCount = 6;

// The lower-case word of api.md. The view's data ends with a NUL byte and lives forever.
std::string_view StageName(Stage stage);
std::string_view StateName(State state);

// Throw Error 22023, with a hint that lists the valid ones, for any other word.
Stage ParseStage(std::string_view name);
State ParseState(std::string_view name);

// The stages of pause_after, in workflow order and each once. Throws Error 22023 for an unknown
// stage and for "done", after which there is nothing to pause.
std::vector<Stage> ParseStages(std::span<const std::string> names);

// The stage after `stage`; kDone stays kDone.
Stage NextStage(Stage stage);

// Whether a migration may go from one state to another; staying is no transition.
bool CanTransition(State from, State to);

// Done or aborted: no worker will touch the migration again.
bool HasEnded(State state);

// Running or retrying: a coordinator is at work, or about to be.
bool IsUnderWay(State state);

// What migration_wait(wanted) waits for. `current_stage_ended` tells that the current stage's work
// is complete and only a pause keeps the next one from starting.
//
// A stage is reached when it has ended; kStreaming as soon as it is the current one; kDone when the
// state is kDone. Nothing is reached merely because a migration failed or was aborted: the caller
// looks at the state for that.
bool StageReached(Stage current, bool current_stage_ended, State state, Stage wanted);

} // namespace livemigrate
