// The two crossings between PostgreSQL's error handling and C++ exceptions. Nothing else converts.
//
//   Call(f)   runs f, which may ereport; an ERROR comes out as livemigrate::Error, or as Stopped
//             when a stop request is what cancelled f.
//   Entry(f)  runs f, which may throw; an exception comes out as an ereport(ERROR).
//
// Rules (doc/architecture.md, "Errors"):
// - The callable given to Call is C-like: no object with a destructor lives in it across a call
//   into PostgreSQL, because a longjmp would skip the destructor.
// - After a caught ERROR only two things are legal: abort the transaction, or throw on.
// - No LWLock or spinlock is held across Call (errfinish resets InterruptHoldoffCount).
// - FATAL and proc_exit run no destructors; what must happen at exit is a before_shmem_exit
// callback.
#pragma once

#include "pg/prelude.hpp"

#include "core/error.hpp"
#include "pg/stop_request.hpp"

#include <type_traits>

namespace livemigrate::pg {

// Copies the error being handled out of PostgreSQL's error state, clears that, and throws it.
[[noreturn]] void ThrowCaughtError(MemoryContext context);

// Raises `error` as an ereport(ERROR). Runs no destructor of its caller's frames: only for
// functions whose frames are C-like, such as callbacks called by PostgreSQL.
[[noreturn]] void RaiseError(const Error &error);

// Packed SQLSTATE (MAKE_SQLSTATE) of five characters, and back.
int PackSqlstate(std::string_view sqlstate);
std::string UnpackSqlstate(int packed);

template <typename F>
auto
Call(F &&f) -> std::invoke_result_t<F> {
    using Result = std::invoke_result_t<F>;
    static_assert(std::is_void_v<Result> || std::is_trivially_destructible_v<Result>,
                  "a longjmp would skip the result's destructor");
    sigjmp_buf *const saved_stack = PG_exception_stack;
    ErrorContextCallback *const saved_context_stack = error_context_stack;
    const MemoryContext saved_context = CurrentMemoryContext;
    sigjmp_buf local;
    // No signal mask: that would be a system call per guarded call, as in PG_TRY.
    if (sigsetjmp(local, 0) == 0) {
        PG_exception_stack = &local;
        if constexpr (std::is_void_v<Result>) {
            f();
            PG_exception_stack = saved_stack;
            error_context_stack = saved_context_stack;
            return;
        } else {
            Result result = f();
            PG_exception_stack = saved_stack;
            error_context_stack = saved_context_stack;
            return result;
        }
    }
    PG_exception_stack = saved_stack;
    error_context_stack = saved_context_stack;
    ThrowCaughtError(saved_context);
}

// What Entry keeps of an exception until the catch block has been left.
struct PendingError {
    int sqlerrcode;
    char *message;
    char *detail;
    char *hint;
    char *context;
};

PendingError *KeepError(const Error &error);
PendingError *KeepError(const std::exception &error);
[[noreturn]] void RaisePending(const PendingError *pending);

template <typename F>
auto
Entry(F &&f) -> std::invoke_result_t<F> {
    using Result = std::invoke_result_t<F>;
    PendingError *pending = nullptr;
    try {
        if constexpr (std::is_void_v<Result>) {
            f();
            return;
        } else {
            return f();
        }
    } catch (const Error &error) {
        pending = KeepError(error);
    } catch (const std::exception &error) {
        pending = KeepError(error);
    } catch (const Stopped &) {
        pending = KeepError(Error(sqlstate::kQueryCanceled, "stopping on request"));
    }
    RaisePending(pending);
}

} // namespace livemigrate::pg
