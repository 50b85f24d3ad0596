#include "pg/child_process.hpp"

#include "pg/guard.hpp"
#include "pg/wait.hpp"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

extern char **environ;

namespace livemigrate::pg {

namespace {

constexpr size_t kErrorOutputLimit = 16 * 1024;

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kWaitingInterval{2};
constexpr std::chrono::seconds kEndPatience{3};
constexpr int kEndPause = 20; // milliseconds

class Pipe {
  public:
    Pipe() {
        if (pipe2(ends_, O_CLOEXEC) != 0) {
            throw Error(sqlstate::kIoError,
                        std::string("could not create a pipe: ") + std::strerror(errno));
        }
        fcntl(ends_[0], F_SETFL, O_NONBLOCK);
    }
    ~Pipe() {
        CloseRead();
        CloseWrite();
    }
    Pipe(const Pipe &) = delete;
    Pipe &operator=(const Pipe &) = delete;

    int
    read_end() const {
        return ends_[0];
    }
    int
    write_end() const {
        return ends_[1];
    }
    void
    CloseRead() {
        Close(ends_[0]);
    }
    void
    CloseWrite() {
        Close(ends_[1]);
    }

    // Appends what is there; false at end of file.
    bool
    Drain(std::string &into) {
        char buffer[65536];
        for (;;) {
            const ssize_t got = read(ends_[0], buffer, sizeof(buffer));
            if (got > 0) {
                into.append(buffer, static_cast<size_t>(got));
            } else if (got == 0) {
                return false;
            } else if (errno != EINTR) {
                return errno == EAGAIN || errno == EWOULDBLOCK;
            }
        }
    }

  private:
    static void
    Close(int &descriptor) {
        if (descriptor >= 0) {
            close(descriptor);
            descriptor = -1;
        }
    }
    int ends_[2] = {-1, -1};
};

// Ends the child when the scope is left by an error: it is asked, and given a few seconds, as it
// may hang where no signal but one reaches it.
class ChildGuard {
  public:
    explicit ChildGuard(pid_t pid) : pid_(pid) {}
    ~ChildGuard() {
        if (pid_ <= 0) {
            return;
        }
        kill(pid_, SIGTERM);
        const Clock::time_point until = Clock::now() + kEndPatience;
        while (Clock::now() < until) {
            if (waitpid(pid_, nullptr, WNOHANG) != 0) {
                return;
            }
            poll(nullptr, 0, kEndPause);
        }
        kill(pid_, SIGKILL);
        Reap();
    }
    ChildGuard(const ChildGuard &) = delete;
    ChildGuard &operator=(const ChildGuard &) = delete;

    int
    Reap() {
        int status = 0;
        while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
        }
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }

  private:
    pid_t pid_;
};

std::vector<std::string>
MergedEnvironment(const ChildRequest &request) {
    std::map<std::string, std::string> merged;
    for (char **entry = environ; *entry != nullptr; entry++) {
        const std::string text = *entry;
        const size_t equals = text.find('=');
        if (equals != std::string::npos) {
            merged[text.substr(0, equals)] = text.substr(equals + 1);
        }
    }
    for (const auto &[name, value] : request.environment) {
        merged[name] = value;
    }
    std::vector<std::string> result;
    for (const auto &[name, value] : merged) {
        result.push_back(name + "=" + value);
    }
    return result;
}

std::vector<char *>
Pointers(std::vector<std::string> &strings) {
    std::vector<char *> pointers;
    for (std::string &text : strings) {
        pointers.push_back(text.data());
    }
    pointers.push_back(nullptr);
    return pointers;
}

// The child, between fork() and the program, where few functions may be called. It ends when we do,
// however that comes: it would hold its session on the source, and its file.
[[noreturn]] void
RunProgram(char *const *argv, char *const *environment, const Pipe &output, const Pipe &errors,
           const Pipe &failure, pid_t parent) {
    for (int number = 1; number < NSIG; number++) {
        signal(number, SIG_DFL);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
#ifdef PR_SET_PDEATHSIG
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) {
        _exit(1);
    }
#else
    (void)parent;
#endif
    dup2(open("/dev/null", O_RDONLY), 0);
    dup2(output.write_end(), 1);
    dup2(errors.write_end(), 2);
    execve(argv[0], argv, environment);
    const int code = errno;
    (void)!write(failure.write_end(), &code, sizeof(code));
    _exit(1);
}

// What RunProgram() says of a program that could not be started; 0 if it was.
int
ReadFailure(Pipe &failure) {
    failure.CloseWrite();
    fcntl(failure.read_end(), F_SETFL, 0);
    int code = 0;
    ssize_t got = 0;
    do {
        got = read(failure.read_end(), &code, sizeof(code));
    } while (got < 0 && errno == EINTR);
    return got == sizeof(code) ? code : 0;
}

pid_t
Spawn(const ChildRequest &request, const Pipe &output, const Pipe &errors) {
    std::vector<std::string> argv = request.argv;
    std::vector<std::string> environment = MergedEnvironment(request);
    const std::vector<char *> arguments = Pointers(argv);
    const std::vector<char *> variables = Pointers(environment);
    Pipe failure;
    const pid_t parent = getpid();
    // Our handlers are not for the child.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    const pid_t pid = fork();
    if (pid == 0) {
        RunProgram(arguments.data(), variables.data(), output, errors, failure, parent);
    }
    const int fork_error = errno;
    sigprocmask(SIG_SETMASK, &before, nullptr);
    if (pid < 0) {
        throw Error(sqlstate::kIoError,
                    "could not start \"" + argv[0] + "\": " + std::strerror(fork_error));
    }
    if (const int code = ReadFailure(failure); code != 0) {
        waitpid(pid, nullptr, 0);
        throw Error(sqlstate::kUndefinedFile,
                    "could not start \"" + argv[0] + "\": " + std::strerror(code));
    }
    return pid;
}

} // namespace

ChildResult
RunChild(const ChildRequest &request) {
    Pipe output;
    Pipe errors;
    ChildGuard child(Spawn(request, output, errors));
    output.CloseWrite();
    errors.CloseWrite();
    ChildResult result;
    bool output_open = true;
    bool errors_open = true;
    Clock::time_point next = Clock::now() + kWaitingInterval;
    while (output_open || errors_open) {
        // One descriptor per wait: the timeout looks after the other one.
        Wait({.socket = output_open ? output.read_end() : errors.read_end(),
              .for_read = true,
              .timeout = std::chrono::milliseconds(100)});
        if (request.waiting && Clock::now() >= next) {
            request.waiting();
            next = Clock::now() + kWaitingInterval;
        }
        output_open = output_open && output.Drain(result.output);
        errors_open = errors_open && errors.Drain(result.error_output);
        if (result.error_output.size() > kErrorOutputLimit) {
            result.error_output.erase(0, result.error_output.size() - kErrorOutputLimit);
        }
    }
    result.exit_code = child.Reap();
    return result;
}

} // namespace livemigrate::pg
