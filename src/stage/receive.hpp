// The receiver: replication connection -> spool, and feedback to the source.
#pragma once

#include "core/lsn.hpp"
#include "core/output_plugin.hpp"
#include "core/shared_state.hpp"
#include "core/spool_format.hpp"
#include "core/spool_room.hpp"

#include <functional>
#include <string>
#include <vector>

namespace livemigrate::stage {

struct ReceiveSettings {
    std::string conninfo;
    std::string slot;
    Plugin plugin = Plugin::kPgoutput;
    std::vector<std::string> publications;
    bool wal2json_numeric_option = false;
    bool binary = false;           // pgoutput: values in binary form where all types allow it
    std::string system_identifier; // of the source the migration began with
    uint32_t timeline = 0;         // on which it was last; 0: not known
    Lsn timeline_began;            // invalid: not known, or the first
    std::string spool_directory;
    SpoolIdentity spool_identity;
    Lsn snapshot_lsn;    // where the stream begins
    Lsn origin_progress; // applied and flushed on the target
    uint64_t spool_segment_size = 64ULL << 20;
    bool spool_is_known = false; // read whole since the server started: its newest segment will do
};

// What the receiver tells the other processes; see SharedState.
class ReceiveObserver {
  public:
    virtual ~ReceiveObserver() = default;
    // The spool is open, and whole.
    virtual void SpoolChecked() = 0;
    // All that commits before `received` lies below `position`.
    virtual void Written(SpoolPosition position, Lsn received) = 0;
    virtual void Flushed(Lsn flushed, uint64_t spool_bytes) = 0;
    // Whether and why the stream is left on the source; kNone at the start.
    virtual void Held(SpoolHold hold) = 0;
    // The source is on this timeline, which is not the first; because it was promoted, with all
    // that was received, or because that was not known.
    virtual void OnTimeline(uint32_t timeline, Lsn began, bool promoted) = 0;
    virtual void SourceClock(int64_t offset_microseconds) = 0;
    // How far apply is: committed, and flushed to the target's disk.
    virtual Lsn Applied() = 0;
    virtual Lsn AppliedFlushed() = 0;
    // Where the source writes, as of a moment ago; invalid while nobody knows.
    virtual Lsn SourcePosition() = 0;
    // Whether apply has read everything that was received.
    virtual bool ApplyDrained() = 0;
    // What the operator sees.
    virtual void Doing(const std::string &what) = 0;
};

// Runs until the connection or the spool fails (Error) or the process is told to end. Before it
// streams it makes sure that the source, the slot and the spool belong together (invariant 6).
//
// While the spool has no room (core/spool_room), or the disk is full, nothing is read: the socket
// fills and the walsender waits in its send. It goes on reading replies there, so that the feedback
// that is sent all the same keeps the connection from wal_sender_timeout and moves the slot.
[[noreturn]] void Receive(ReceiveSettings settings, ReceiveObserver &observer);

} // namespace livemigrate::stage
