// A child program started without a shell: argv as an array, extra environment, output through a
// pipe that is read under the latch. Where the system can do that (Linux), it ends with its parent.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace livemigrate::pg {

struct ChildRequest {
    std::vector<std::string> argv; // argv[0] is the path of the program
    std::vector<std::pair<std::string, std::string>> environment; // added to or replacing ours
    std::function<void()> waiting{}; // called every few seconds while it runs; may throw to end it
};

struct ChildResult {
    int exit_code = 0; // 128 + n when it was ended by signal n
    std::string output;
    std::string error_output; // the last 16 kB
};

// Runs the program to its end. Interruptible: when an interrupt cancels, the child is terminated,
// and killed three seconds later. Throws Error 58P01 when it cannot be started; a non-zero exit
// code is for the caller to judge.
ChildResult RunChild(const ChildRequest &request);

} // namespace livemigrate::pg
