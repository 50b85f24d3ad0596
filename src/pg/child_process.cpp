#include "pg/child_process.hpp"

#include "pg/guard.hpp"
#include "pg/wait.hpp"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

namespace livemigrate::pg {

namespace {

constexpr size_t kErrorOutputLimit = 16 * 1024;

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kWaitingInterval{2};

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

// Ends the child when the scope is left by an error.
class ChildGuard {
  public:
    explicit ChildGuard(pid_t pid) : pid_(pid) {}
    ~ChildGuard() {
        if (pid_ > 0) {
            kill(pid_, SIGTERM);
            Reap();
        }
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

pid_t
Spawn(const ChildRequest &request, const Pipe &output, const Pipe &errors) {
    std::vector<std::string> argv = request.argv;
    std::vector<std::string> environment = MergedEnvironment(request);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output.write_end(), 1);
    posix_spawn_file_actions_adddup2(&actions, errors.write_end(), 2);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t all;
    sigset_t none;
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    pid_t pid = -1;
    const int code = posix_spawn(&pid, argv[0].c_str(), &actions, &attributes,
                                 Pointers(argv).data(), Pointers(environment).data());
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (code != 0) {
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
