// Holding apply at a position of the source (core/apply_hold): the side of apply, which honours a
// hold for as long as it is valid, and the side of the session that asks for one.
#pragma once

#include "control/shared_memory.hpp"
#include "core/apply_hold.hpp"
#include "core/lsn.hpp"

#include <chrono>

namespace livemigrate::control {

// For apply: the hold's position, or 0 when there is none. Takes back one whose time is over or
// whose session has ended.
uint64_t CurrentHold(ApplyHold &hold);

// Has apply begin no transaction of the source until endpos is published, see core/apply_hold. Does
// not wait for apply: it may be in the middle of a transaction, which stays.
void HoldForEndpos(EndposHold &hold);

// After endpos is published, which from then on stops apply itself.
void EndHoldForEndpos(EndposHold &hold);

// The process that is about to set endpos; 0 when there is none.
pid_t EndposHolder(const EndposHold &hold);

// For a session: apply stands still from the constructor's return until the end of the object's
// life, however that comes: an exception, a cancelled statement, a terminated session. It also ends
// after `limit`, whatever the session does meanwhile.
class HeldApply {
  public:
    // Waits until apply stands still wherever it is. Throws Error 55006 when another session holds
    // it, 55000 when apply ends first, 57014 when it does not stand still within the limit.
    // REQUIRES: the segment outlives this.
    HeldApply(const SharedSegment &segment, std::chrono::milliseconds limit);

    // Lets apply go on to `lsn`, and returns once everything before it, and nothing behind it, is
    // applied. Errors as above. REQUIRES: lsn is not before what is applied.
    void MoveTo(Lsn lsn);

    // Whether apply has stood still all the time since MoveTo() returned.
    bool IsValid() const;

    // Keeps apply standing still beyond the limit, until the end of the object's life.
    void Extend();

  private:
    // Has the hold taken, and gives it back.
    struct Possession {
        explicit Possession(SharedState &shared);
        ~Possession();
        Possession(const Possession &) = delete;
        Possession &operator=(const Possession &) = delete;
        SharedState &state;
    };

    void WaitUntilHeld();

    SharedState &state_;
    Possession possession_;
    std::chrono::milliseconds limit_;
    uint64_t lsn_ = kHoldHere;
};

} // namespace livemigrate::control
