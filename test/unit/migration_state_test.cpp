#include "core/migration_state.hpp"

#include "core/error.hpp"

#include <gtest/gtest.h>

namespace livemigrate {
namespace {

constexpr Stage kAllStages[] = {
    Stage::kPreflight, Stage::kSlot,    Stage::kRoles,     Stage::kSchema,  Stage::kData,
    Stage::kIndexes,   Stage::kCatchup, Stage::kStreaming, Stage::kCutover, Stage::kDone};
constexpr State kAllStates[] = {State::kRunning, State::kPaused, State::kRetrying,
                                State::kFailed,  State::kDone,   State::kAborted};
static_assert(std::size(kAllStages) == kStageCount);
static_assert(std::size(kAllStates) == kStateCount);

// The words that users write; api.md fixes them.
TEST(MigrationState, NamesAreTheDocumentedOnes) {
    const std::string_view stages[] = {"preflight", "slot",    "roles",     "schema",  "data",
                                       "indexes",   "catchup", "streaming", "cutover", "done"};
    for (int i = 0; i < kStageCount; ++i) {
        EXPECT_EQ(StageName(kAllStages[i]), stages[i]);
        EXPECT_EQ(ParseStage(stages[i]), kAllStages[i]);
        EXPECT_EQ(StageName(kAllStages[i]).data()[stages[i].size()], '\0');
    }
    const std::string_view states[] = {"running", "paused", "retrying",
                                       "failed",  "done",   "aborted"};
    for (int i = 0; i < kStateCount; ++i) {
        EXPECT_EQ(StateName(kAllStates[i]), states[i]);
        EXPECT_EQ(ParseState(states[i]), kAllStates[i]);
    }
}

TEST(MigrationState, UnknownWordsAreRefusedWithTheValidOnes) {
    for (std::string_view word : {"", "Data", "data ", "copy", "running"}) {
        try {
            ParseStage(word);
            ADD_FAILURE() << word;
        } catch (const Error &error) {
            EXPECT_EQ(error.sqlstate(), sqlstate::kInvalidParameterValue);
            EXPECT_EQ(error.message(), "unknown stage \"" + std::string(word) + "\"");
            EXPECT_EQ(error.hint(),
                      "Valid stages are preflight, slot, roles, schema, data, indexes, "
                      "catchup, streaming, cutover and done.");
        }
    }
    try {
        ParseState("data");
        ADD_FAILURE();
    } catch (const Error &error) {
        EXPECT_EQ(error.sqlstate(), sqlstate::kInvalidParameterValue);
        EXPECT_EQ(error.hint(),
                  "Valid states are running, paused, retrying, failed, done and aborted.");
    }
}

TEST(MigrationState, PauseAfterIsSortedAndUnique) {
    EXPECT_TRUE(ParseStages({}).empty());
    const std::vector<std::string> names = {"indexes", "schema", "indexes", "slot"};
    EXPECT_EQ(ParseStages(names),
              (std::vector<Stage>{Stage::kSlot, Stage::kSchema, Stage::kIndexes}));
}

TEST(MigrationState, PauseAfterDoneIsRefused) {
    const std::vector<std::string> names = {"schema", "done"};
    try {
        ParseStages(names);
        ADD_FAILURE();
    } catch (const Error &error) {
        EXPECT_EQ(error.sqlstate(), sqlstate::kInvalidParameterValue);
        EXPECT_NE(error.hint().find("streaming and cutover."), std::string::npos) << error.hint();
    }
    const std::vector<std::string> unknown = {"schema", "scheme"};
    EXPECT_THROW(ParseStages(unknown), Error);
}

TEST(MigrationState, StagesFollowEachOther) {
    for (int i = 0; i + 1 < kStageCount; ++i) {
        EXPECT_EQ(NextStage(kAllStages[i]), kAllStages[i + 1]);
        EXPECT_LT(kAllStages[i], kAllStages[i + 1]);
    }
    EXPECT_EQ(NextStage(Stage::kDone), Stage::kDone);
}

// The table of doc/state_machine.md; rows are `from`, columns `to`, both in kAllStates' order.
TEST(MigrationState, Transitions) {
    const bool allowed[kStateCount][kStateCount] = {
        /* running  */ {false, true, true, true, true, true},
        /* paused   */ {true, false, false, true, false, true},
        /* retrying */ {true, true, false, true, false, true},
        /* failed   */ {true, false, false, false, false, true},
        /* done     */ {false, false, false, false, false, false},
        /* aborted  */ {false, false, false, false, false, false},
    };
    for (int from = 0; from < kStateCount; ++from) {
        for (int to = 0; to < kStateCount; ++to) {
            EXPECT_EQ(CanTransition(kAllStates[from], kAllStates[to]), allowed[from][to])
                << StateName(kAllStates[from]) << " to " << StateName(kAllStates[to]);
        }
    }
}

TEST(MigrationState, OnlyDoneAndAbortedHaveEnded) {
    for (State state : kAllStates) {
        EXPECT_EQ(HasEnded(state), state == State::kDone || state == State::kAborted);
    }
}

TEST(MigrationState, RunningAndRetryingAreUnderWay) {
    for (State state : kAllStates) {
        EXPECT_EQ(IsUnderWay(state), state == State::kRunning || state == State::kRetrying);
    }
}

TEST(MigrationState, AStageIsReachedWhenItHasEnded) {
    const State running = State::kRunning;
    EXPECT_FALSE(StageReached(Stage::kRoles, false, running, Stage::kSchema));
    EXPECT_FALSE(StageReached(Stage::kRoles, true, running, Stage::kSchema));
    EXPECT_FALSE(StageReached(Stage::kSchema, false, running, Stage::kSchema));
    EXPECT_TRUE(StageReached(Stage::kSchema, true, running, Stage::kSchema));
    EXPECT_TRUE(StageReached(Stage::kData, false, running, Stage::kSchema));
}

TEST(MigrationState, APauseInsideAStageIsNotItsEnd) {
    EXPECT_FALSE(StageReached(Stage::kData, false, State::kPaused, Stage::kData));
    EXPECT_TRUE(StageReached(Stage::kData, true, State::kPaused, Stage::kData));
    EXPECT_FALSE(StageReached(Stage::kData, true, State::kPaused, Stage::kIndexes));
}

TEST(MigrationState, StreamingIsReachedWhenItBegins) {
    EXPECT_FALSE(StageReached(Stage::kCatchup, true, State::kPaused, Stage::kStreaming));
    EXPECT_TRUE(StageReached(Stage::kStreaming, false, State::kRunning, Stage::kStreaming));
    EXPECT_TRUE(StageReached(Stage::kCutover, false, State::kRunning, Stage::kStreaming));
    EXPECT_TRUE(StageReached(Stage::kStreaming, false, State::kRunning, Stage::kCatchup));
    EXPECT_FALSE(StageReached(Stage::kStreaming, true, State::kRunning, Stage::kCutover));
}

TEST(MigrationState, DoneIsReachedWithTheState) {
    EXPECT_FALSE(StageReached(Stage::kCutover, true, State::kPaused, Stage::kDone));
    EXPECT_FALSE(StageReached(Stage::kDone, false, State::kRunning, Stage::kDone));
    for (Stage wanted : kAllStages) {
        EXPECT_TRUE(StageReached(Stage::kDone, true, State::kDone, wanted));
    }
}

TEST(MigrationState, FailureAndAbortReachNothing) {
    for (State state : {State::kFailed, State::kAborted, State::kRetrying}) {
        EXPECT_FALSE(StageReached(Stage::kData, false, state, Stage::kData));
        EXPECT_FALSE(StageReached(Stage::kData, false, state, Stage::kDone));
        EXPECT_TRUE(StageReached(Stage::kData, false, state, Stage::kSchema));
    }
}

} // namespace
} // namespace livemigrate
