// A server's timeline history: at which position each earlier timeline was left. See PostgreSQL's
// timeline.c (readTimeLineHistory) and "TIMELINE_HISTORY" of the replication protocol.
#pragma once

#include "core/lsn.hpp"

#include <cstdint>
#include <optional>
#include <string_view>

namespace livemigrate {

// Where the server left the timeline, by the text of a history file; nullopt if it never was on it.
// Throws Error 08P01 for a line that is none of such a file.
std::optional<Lsn> EndOfTimeline(std::string_view history, uint32_t timeline);

// Where the timeline that the history is of began: where the last of those before it was left.
// Invalid if there was none. Throws as EndOfTimeline() does.
Lsn BeginOfTimeline(std::string_view history);

} // namespace livemigrate
