// Sets the target's sequences to where the source's stand.
#pragma once

#include "source/connection.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace livemigrate::stage {

struct Sequence {
    using Name = std::pair<std::string, std::string>; // schema, name

    std::string oid;
    int64_t increment = 1;
    int64_t start = 1;
    bool cycles = false;
    bool readable = false;
    bool settable = false;
    std::string type;
    std::string options;       // of CREATE SEQUENCE and AS IDENTITY alike
    std::optional<Name> owner; // table
    std::string owner_column;
    std::string identity;    // attidentity of that column: a, d, or empty
    bool is_member = false;  // of an extension, and part of its configuration
    bool is_required = true; // else one that cannot be read or set is left as it is

    int64_t last_value = 0;
    bool is_called = false;
};

using Sequences = std::map<Sequence::Name, Sequence>;

struct SourceSequences {
    Sequences sequences;
    std::string role; // which has read them, quoted
};

struct SequenceReport {
    uint64_t set = 0;                  // sequences that now hold the source's value
    uint64_t changed = 0;              // those of them that held another one before
    std::vector<std::string> warnings; // one for each sequence kept because it is ahead, and others
};

// Says whether a sequence is taken. Called with the table that owns the sequence (serial,
// identity). Where there is none it is taken in any case, and required if this says so of the
// sequence itself.
using SequenceFilter = std::function<bool(const std::string &schema, const std::string &name)>;

// Reads last_value and is_called of every user sequence of the source. `observer` is called while
// it is waited for. Throws Error 42501 naming those that may not be read, with the SQL that helps.
SourceSequences ReadSequences(source::Connection &source, const SequenceFilter &selects,
                              const source::WaitObserver &observer = {});

// Sets those that differ on the target with setval(). A sequence that was used on the target and is
// ahead, in the direction of its increment, is kept, with a warning. One that is not required and
// not on the target is passed over.
//
// Throws Error 42P01 naming the sequences that are missing on the target, 42501 naming those that
// may not be read or set, each with the SQL that helps; then nothing was set.
//
// Each sequence set stays locked until the transaction ends, and a server has room for some
// thousands of locks: `next_transaction`, if given, is called after every 1000 and may commit and
// begin anew.
//
// REQUIRES: an open transaction on the target. setval() does not roll back with it.
SequenceReport SetSequences(SourceSequences sequences,
                            const std::function<void()> &next_transaction = {});

} // namespace livemigrate::stage
