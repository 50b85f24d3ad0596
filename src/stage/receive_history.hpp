// Whether the source is the server, and on the history, that everything received came from.
#pragma once

#include "source/replication_stream.hpp"
#include "stage/receive.hpp"

namespace livemigrate::stage {

// Throws Error 55000 unless the source has all that was received in its history: its WAL goes as
// far, and it has left the timeline that it was last on behind that, or is on the same one.
// `settings` and the observer learn of the timeline that it is on now.
void FollowHistory(source::ReplicationStream &stream, const source::SystemIdentity &identity,
                   Lsn received, ReceiveSettings &settings, ReceiveObserver &observer);

} // namespace livemigrate::stage
