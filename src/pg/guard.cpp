#include "pg/guard.hpp"

#include <string>

namespace livemigrate::pg {

namespace {

std::string
OrEmpty(const char *text) {
    return text == nullptr ? std::string() : std::string(text);
}

char *
CopyOrNull(const std::string &text) {
    return text.empty() ? nullptr : MemoryContextStrdup(ErrorContext, text.c_str());
}

} // namespace

int
PackSqlstate(std::string_view sqlstate) {
    if (sqlstate.size() != 5) {
        return ERRCODE_INTERNAL_ERROR;
    }
    return MAKE_SQLSTATE(sqlstate[0], sqlstate[1], sqlstate[2], sqlstate[3], sqlstate[4]);
}

std::string
UnpackSqlstate(int packed) {
    std::string text(5, '0');
    for (char &character : text) {
        character = static_cast<char>(PGUNSIXBIT(packed));
        packed >>= 6;
    }
    return text;
}

void
ThrowCaughtError(MemoryContext context) {
    MemoryContextSwitchTo(context);
    ErrorData *data = CopyErrorData();
    FlushErrorState();
    std::string message = OrEmpty(data->message);
    std::string detail = OrEmpty(data->detail);
    std::string hint = OrEmpty(data->hint);
    std::string where = OrEmpty(data->context);
    const std::string sqlstate = UnpackSqlstate(data->sqlerrcode);
    FreeErrorData(data);
    if (sqlstate == livemigrate::sqlstate::kQueryCanceled && StopIsRequested()) {
        throw Stopped();
    }
    throw Error(sqlstate, std::move(message))
        .Detail(std::move(detail))
        .Hint(std::move(hint))
        .Context(std::move(where));
}

PendingError *
KeepError(const Error &error) {
    auto *pending =
        static_cast<PendingError *>(MemoryContextAlloc(ErrorContext, sizeof(PendingError)));
    pending->sqlerrcode = PackSqlstate(error.sqlstate());
    pending->message = MemoryContextStrdup(ErrorContext, error.message().c_str());
    pending->detail = CopyOrNull(error.detail());
    pending->hint = CopyOrNull(error.hint());
    pending->context = CopyOrNull(error.context());
    return pending;
}

PendingError *
KeepError(const std::exception &error) {
    return KeepError(Error(sqlstate::kInternalError, error.what()));
}

void
RaisePending(const PendingError *pending) {
    // ErrorContext is reset by errstart when no error is being handled: take a copy first.
    const int sqlerrcode = pending->sqlerrcode;
    char *message = pstrdup(pending->message);
    char *detail = pending->detail == nullptr ? nullptr : pstrdup(pending->detail);
    char *hint = pending->hint == nullptr ? nullptr : pstrdup(pending->hint);
    char *context = pending->context == nullptr ? nullptr : pstrdup(pending->context);
    // The statement may hold a connection string with its password: it stays out of the log.
    ereport(ERROR, (errcode(sqlerrcode), errmsg_internal("%s", message), errhidestmt(true),
                    detail == nullptr ? 0 : errdetail_internal("%s", detail),
                    hint == nullptr ? 0 : errhint("%s", hint),
                    context == nullptr ? 0 : (errcontext("%s", context))));
    pg_unreachable();
}

void
RaiseError(const Error &error) {
    RaisePending(KeepError(error));
}

} // namespace livemigrate::pg
