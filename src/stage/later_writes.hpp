// Transactions of the source that commit behind a position: what was still written there when its
// writes should have stopped.
#pragma once

#include "core/change.hpp"
#include "core/lsn.hpp"
#include "core/output_plugin.hpp"
#include "core/spool_format.hpp"
#include "core/table_pattern.hpp"
#include "source/connection.hpp"

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace livemigrate::stage {

struct LaterWrites {
    uint64_t transactions = 0; // with a change to a table that counts
    std::set<std::pair<std::string, std::string>> tables;
    bool complete = true; // false: there are more
};

struct ChangeStream {
    std::string spool_directory; // need not exist
    SpoolIdentity spool_identity;
    std::string slot;
    Plugin plugin = Plugin::kPgoutput;
    std::vector<std::string> publications;
    bool wal2json_numeric_option = false;
    std::string source_encoding;
};

// Looks through what was received already, then through what the slot still holds, without taking
// anything from either. Only tables that `counts` says yes to. Throws Error; 55006 while somebody
// streams from the slot, 42704 when there is none.
// REQUIRES: no receiver writes the spool.
LaterWrites
FindLaterWrites(const ChangeStream &stream, source::Connection &source, Lsn after,
                const std::function<bool(const std::string &, const std::string &)> &counts);

} // namespace livemigrate::stage
