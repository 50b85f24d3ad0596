// CALL migration_wait(): a procedure, so that it can end its transaction between two looks and
// holds no snapshot while it waits: one would stop pruning and make apply of hot rows slow.

#include "pg/prelude.hpp"

#include "api/arguments.hpp"
#include "api/named_migration.hpp"
#include "api/sql_function.hpp"
#include "control/catalog.hpp"
#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"
#include "pg/wait.hpp"

#include <chrono>

namespace livemigrate::api {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{10};
constexpr milliseconds kLongestPause{100};

std::optional<milliseconds>
ReadTimeout(FunctionCallInfo fcinfo) {
    const std::optional<std::string> text = TextArgument(fcinfo, 1);
    if (!text) {
        return std::nullopt;
    }
    const milliseconds value = Milliseconds(*text);
    if (value < milliseconds::zero()) {
        throw Error(sqlstate::kInvalidParameterValue, "timeout must not be negative");
    }
    return value;
}

// True when the stage is reached. Throws the migration's own error when it will not be; says once
// that it is paused.
bool
Look(int32_t id, Stage wanted, bool &pause_told) {
    const pg::SqlResult result = pg::Query(
        "SELECT stage, stage_ended, state, message, hint, last_error, last_error_sqlstate, "
        "last_error_detail, name FROM livemigrate.migration WHERE id = $1::int",
        {std::to_string(id)});
    if (result.rows.empty()) {
        throw Error(sqlstate::kUndefinedObject, "the migration does not exist any more");
    }
    const pg::SqlRow &row = result.rows[0];
    const Stage stage = ParseStage(pg::Text(row, 0));
    const State state = ParseState(pg::Text(row, 2));
    const std::string name = "migration \"" + pg::Text(row, 8) + "\"";
    if (StageReached(stage, pg::Flag(row, 1), state, wanted)) {
        return true;
    }
    if (state == State::kFailed) {
        throw Error(row[6] ? *row[6] : std::string(sqlstate::kInternalError),
                    name + " failed in stage " + pg::Text(row, 0) + ": " + pg::Text(row, 5))
            .Detail(row[7] ? *row[7] : "What it has done so far is kept.")
            .Hint(pg::Text(row, 4));
    }
    if (state == State::kAborted) {
        throw Error(sqlstate::kObjectNotInPrerequisiteState, name + " was aborted");
    }
    if (state == State::kPaused && !pause_told) {
        Notice(name + " is paused in stage " + pg::Text(row, 0) +
                   "; waiting until somebody resumes it",
               control::NamedHint(
                   id, "In another session run: SELECT livemigrate.migration_resume();"));
    }
    pause_told = state == State::kPaused;
    return false;
}

void
WaitForStage(FunctionCallInfo fcinfo) {
    const auto *context = reinterpret_cast<const CallContext *>(fcinfo->context);
    if (context == nullptr || !IsA(context, CallContext) || context->atomic) {
        throw Error(sqlstate::kInvalidTransactionState,
                    "migration_wait cannot be called inside a transaction block")
            .Detail("It would hold a snapshot for as long as it waits.")
            .Hint("Call it on its own: CALL livemigrate.migration_wait();");
    }
    const Stage wanted = ParseStage(RequiredText(fcinfo, 0, "stage"));
    const std::optional<milliseconds> timeout = ReadTimeout(fcinfo);
    const int32_t id = control::ResolveMigration(TextArgument(fcinfo, 2), true);
    const Clock::time_point start = Clock::now();
    milliseconds pause = kFirstPause;
    bool pause_told = false;
    while (!Look(id, wanted, pause_told)) {
        if (timeout && Clock::now() - start >= *timeout) {
            throw Error(sqlstate::kQueryCanceled,
                        "stage " + std::string(StageName(wanted)) + " was not reached in time")
                .Hint(control::NamedHint(
                    id, "SELECT stage, state, message, hint FROM livemigrate.migration_status();"));
        }
        pg::Call([] {
            SPI_connect_ext(SPI_OPT_NONATOMIC);
            SPI_commit();
            SPI_finish();
        });
        pg::SleepOnLatch(pause);
        pause = std::min(kLongestPause, pause * 2);
    }
}

Datum
Wait(FunctionCallInfo fcinfo) {
    WaitForStage(fcinfo);
    return 0;
}

} // namespace

} // namespace livemigrate::api

LIVEMIGRATE_FUNCTION(livemigrate_migration_wait, Wait)
