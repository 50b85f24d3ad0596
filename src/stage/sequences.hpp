// Sets the target's sequences to where the source's stand.
#pragma once

#include "source/connection.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace livemigrate::stage {

struct SequenceReport {
    uint64_t set = 0;                  // sequences that now hold the source's value
    uint64_t changed = 0;              // those of them that held another one before
    std::vector<std::string> warnings; // one for each sequence kept because it is ahead
};

// Says whether a sequence is taken. Called with the table that owns the sequence (serial, identity)
// or, where there is none, with the sequence itself.
using SequenceFilter = std::function<bool(const std::string &schema, const std::string &name)>;

// Reads last_value and is_called of every user sequence of the source and sets those that differ on
// the target with setval(). A sequence that was used on the target and is ahead, in the direction
// of its increment, is kept, with a warning.
//
// Throws Error 42P01 naming the sequences that are missing on the target, 42501 naming those that
// may not be read or set, each with the SQL that helps; then nothing was set.
//
// Each sequence set stays locked until the transaction ends, and a server has room for some
// thousands of locks: `next_transaction`, if given, is called after every 1000 and may commit and
// begin anew.
//
// REQUIRES: an open transaction on the target. setval() does not roll back with it.
SequenceReport CopySequences(source::Connection &source, const SequenceFilter &selects,
                             const std::function<void()> &next_transaction = {});

} // namespace livemigrate::stage
