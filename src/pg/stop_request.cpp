#include "pg/stop_request.hpp"

#include <csignal>

namespace livemigrate::pg {

namespace {

volatile sig_atomic_t stop_requested = 0;

void
HandleStopRequest(int signal) {
    stop_requested = 1;
    StatementCancelHandler(signal);
}

} // namespace

void
InstallStopHandler() {
    pqsignal(SIGINT, HandleStopRequest);
}

bool
StopIsRequested() {
    return stop_requested != 0;
}

void
RequestStop(pid_t pid) {
    if (pid > 0) {
        kill(pid, SIGINT);
    }
}

} // namespace livemigrate::pg
