// What the receiver demands of the slot and of the source's history (invariant 6): that they have
// everything which is not here yet.
#pragma once

#include "core/error.hpp"
#include "core/lsn.hpp"
#include "source/connection.hpp"
#include "stage/receive.hpp"

#include <string>

namespace livemigrate::stage {

struct SlotState {
    std::string plugin;
    Lsn confirmed_flush;
};

[[noreturn]] void ThrowSlotIsGone(const std::string &slot);

// Throws 42704, 55000 or, while somebody else uses the slot, 55006.
SlotState CheckSlot(source::Connection &connection, const ReceiveSettings &settings);

// Throws 55000 if the slot would not give out again what lies behind `received`: somebody else has
// read from it or moved it.
void CheckSlotIsNotAhead(const std::string &slot, Lsn confirmed_flush, Lsn received);

// An error that the source met while it decoded changes, and meets again whenever it is asked for
// the same ones, with what can be done about it.
Error DescribeStreamError(const Error &error);

// `where` the source's history ends, too early.
[[noreturn]] void ThrowLostChanges(Lsn received, const std::string &where, Lsn end);

} // namespace livemigrate::stage
