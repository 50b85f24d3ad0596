#include "pg/prelude.hpp"

#include "stage/receive_history.hpp"

#include "stage/receive_slot.hpp"

namespace livemigrate::stage {

namespace {

// For a receiver that follows in this process, too.
void
FollowTimeline(source::ReplicationStream &stream, uint32_t timeline, bool promoted,
               ReceiveSettings &settings, ReceiveObserver &observer) {
    settings.timeline = timeline;
    settings.timeline_began = stream.BeginOfTimeline(timeline);
    if (settings.timeline_began.valid()) {
        observer.OnTimeline(timeline, settings.timeline_began, promoted);
    }
}

// Two standbys that were promoted apart from each other have given their timelines one number.
void
CheckBegin(source::ReplicationStream &stream, Lsn received, const ReceiveSettings &settings) {
    const Lsn began = stream.BeginOfTimeline(settings.timeline);
    if (began != settings.timeline_began) {
        ThrowLostChanges(received,
                         "its timeline " + std::to_string(settings.timeline) +
                             " is not the one that began at " + settings.timeline_began.ToString() +
                             ": it began",
                         began);
    }
}

} // namespace

// The slot would go on from `received` whatever lies before it: a server that never had what we
// have of the old one skips its own changes up to there.
void
FollowHistory(source::ReplicationStream &stream, const source::SystemIdentity &identity,
              Lsn received, ReceiveSettings &settings, ReceiveObserver &observer) {
    if (identity.flushed < received) {
        ThrowLostChanges(received, "its WAL ends", identity.flushed);
    }
    if (identity.timeline == settings.timeline && settings.timeline_began.valid()) {
        return CheckBegin(stream, received, settings);
    }
    const bool promoted = settings.timeline != 0 && identity.timeline != settings.timeline;
    if (promoted) {
        const std::optional<Lsn> end = stream.EndOfTimeline(identity.timeline, settings.timeline);
        if (!end || *end < received) {
            ThrowLostChanges(received, "it left timeline " + std::to_string(settings.timeline),
                             end.value_or(Lsn{}));
        }
    }
    FollowTimeline(stream, identity.timeline, promoted, settings, observer);
}

} // namespace livemigrate::stage
