// Lets the caller of a long loop on the core floor look for interrupts, which core cannot see.
#pragma once

#include <cstddef>

namespace livemigrate {

class InterruptCheck {
  public:
    // `check` may be null, and may throw.
    explicit InterruptCheck(void (*check)()) : check_(check) {}

    // Calls it about once a megabyte, or after many small steps.
    void
    Step(size_t bytes) {
        work_ += bytes + kCostOfStep;
        if (work_ >= kInterval) {
            work_ = 0;
            if (check_ != nullptr) {
                check_();
            }
        }
    }

  private:
    static constexpr size_t kInterval = 1 << 20;
    static constexpr size_t kCostOfStep = 64;

    void (*check_)();
    size_t work_ = 0;
};

} // namespace livemigrate
