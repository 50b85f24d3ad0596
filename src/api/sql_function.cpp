#include "api/sql_function.hpp"

#include "control/version_check.hpp"

namespace livemigrate::api {

namespace {

constexpr char kNothingChanged[] = "The call changed nothing.";
constexpr char kArgumentsHint[] = "SELECT proname, pg_get_function_arguments(oid) FROM pg_proc "
                                  "WHERE pronamespace = 'livemigrate'::regnamespace;";
constexpr char kStateHint[] =
    "SELECT migration, stage, state, message, hint FROM livemigrate.migration_status();";

// Classes 22 (data exception), 42 (undefined, duplicate, rights) and 55 (wrong state) are about the
// call; others, such as a cancelled statement, speak for themselves.
bool
IsAboutTheCall(const Error &error) {
    return error.sqlstate().starts_with("22") || error.sqlstate().starts_with("42") ||
           error.sqlstate().starts_with("55");
}

} // namespace

Datum
Answer(Datum (*call)(FunctionCallInfo), FunctionCallInfo fcinfo) {
    try {
        control::CheckVersion();
        return call(fcinfo);
    } catch (const Error &error) {
        if (!IsAboutTheCall(error)) {
            throw;
        }
        const char *hint = error.sqlstate().starts_with("22") ? kArgumentsHint : kStateHint;
        throw Error(error.sqlstate(), error.message())
            .Detail(error.detail().empty() ? kNothingChanged : error.detail())
            .Hint(error.hint().empty() ? hint : error.hint())
            .Context(error.context());
    }
}

} // namespace livemigrate::api
