#include "core/migration_state.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <array>

namespace livemigrate {

namespace {

constexpr std::array<std::string_view, kStageCount> kStageNames = {
    "preflight", "slot",    "roles",     "schema",  "data",
    "indexes",   "catchup", "streaming", "cutover", "done"};

constexpr std::array<std::string_view, kStateCount> kStateNames = {"running", "paused", "retrying",
                                                                   "failed",  "done",   "aborted"};

// "a, b and c".
std::string
Enumerate(std::span<const std::string_view> names) {
    std::string text;
    for (size_t i = 0; i < names.size(); ++i) {
        if (i > 0) {
            text += i + 1 == names.size() ? " and " : ", ";
        }
        text += names[i];
    }
    return text;
}

// The position of `name` in `names`; `noun` is what the error calls it.
size_t
IndexOf(std::span<const std::string_view> names, std::string_view name, const std::string &noun) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) {
        throw Error(sqlstate::kInvalidParameterValue,
                    "unknown " + noun + " \"" + std::string(name) + "\"")
            .Hint("Valid " + noun + "s are " + Enumerate(names) + ".");
    }
    return static_cast<size_t>(found - names.begin());
}

constexpr unsigned
Bit(State state) {
    return 1U << static_cast<unsigned>(state);
}

// The states that `from` may become, one bit each.
unsigned
NextStates(State from) {
    switch (from) {
    case State::kRunning:
        return Bit(State::kPaused) | Bit(State::kRetrying) | Bit(State::kFailed) |
               Bit(State::kDone) | Bit(State::kAborted);
    case State::kPaused:
        return Bit(State::kRunning) | Bit(State::kFailed) | Bit(State::kAborted);
    case State::kRetrying:
        return Bit(State::kRunning) | Bit(State::kPaused) | Bit(State::kFailed) |
               Bit(State::kAborted);
    case State::kFailed:
        return Bit(State::kRunning) | Bit(State::kAborted);
    case State::kDone:
    case State::kAborted:
        return 0;
    }
    return 0;
}

} // namespace

std::string_view
StageName(Stage stage) {
    return kStageNames[static_cast<size_t>(stage)];
}

std::string_view
StateName(State state) {
    return kStateNames[static_cast<size_t>(state)];
}

Stage
ParseStage(std::string_view name) {
    return static_cast<Stage>(IndexOf(kStageNames, name, "stage"));
}

State
ParseState(std::string_view name) {
    return static_cast<State>(IndexOf(kStateNames, name, "state"));
}

std::vector<Stage>
ParseStages(std::span<const std::string> names) {
    std::vector<Stage> stages;
    for (const std::string &name : names) {
        const Stage stage = ParseStage(name);
        if (stage == Stage::kDone) {
            const std::span all(kStageNames);
            throw Error(sqlstate::kInvalidParameterValue, "cannot pause after stage \"done\"")
                .Detail("Nothing follows it.")
                .Hint("Stages to pause after are " + Enumerate(all.first(all.size() - 1)) + ".");
        }
        stages.push_back(stage);
    }
    std::sort(stages.begin(), stages.end());
    stages.erase(std::unique(stages.begin(), stages.end()), stages.end());
    return stages;
}

Stage
NextStage(Stage stage) {
    return stage == Stage::kDone ? stage : static_cast<Stage>(static_cast<uint8_t>(stage) + 1);
}

bool
CanTransition(State from, State to) {
    return (NextStates(from) & Bit(to)) != 0;
}

bool
HasEnded(State state) {
    return NextStates(state) == 0;
}

bool
IsUnderWay(State state) {
    return state == State::kRunning || state == State::kRetrying;
}

bool
StageReached(Stage current, bool current_stage_ended, State state, Stage wanted) {
    if (state == State::kDone) {
        return true;
    }
    if (wanted == Stage::kDone) {
        return false;
    }
    if (wanted == Stage::kStreaming) {
        return current >= wanted;
    }
    return current > wanted || (current == wanted && current_stage_ended);
}

} // namespace livemigrate
