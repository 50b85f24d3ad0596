#include "pg/prelude.hpp"

#include "control/receiver_worker.hpp"

#include "control/apply_origins.hpp"
#include "control/shared_memory.hpp"
#include "control/spool_identity.hpp"
#include "control/work_directory.hpp"
#include "pg/guc.hpp"
#include "pg/transaction.hpp"
#include "stage/receive.hpp"

namespace livemigrate::control {

namespace {

class SharedReceiveObserver final : public stage::ReceiveObserver {
  public:
    SharedReceiveObserver(SharedState &state, WorkerSlot &slot, const Migration &migration)
        : state_(state), slot_(slot), migration_(migration) {}

    void
    SpoolChecked() override {
        state_.spool_is_known.store(1);
    }
    void
    Written(SpoolPosition position, Lsn received) override {
        CheckCoordinator(state_);
        const bool news = position != last_position_ || received.value != state_.received_lsn;
        // The position first: who reads received_lsn, then the position, sees all below it.
        PublishSpoolPosition(state_, position.segment, position.offset);
        state_.received_lsn.store(received.value);
        last_position_ = position;
        if (news) {
            WakeApply(state_);
        }
    }
    void
    Flushed(Lsn flushed, uint64_t spool_bytes) override {
        state_.flushed_lsn.store(flushed.value);
        state_.spool_bytes.store(spool_bytes);
    }
    void
    Held(SpoolHold hold) override {
        CheckCoordinator(state_);
        state_.spool_hold.store(static_cast<uint32_t>(hold));
        state_.spool_holds.fetch_or(SpoolHoldBit(hold));
    }
    void
    OnTimeline(uint32_t timeline, Lsn began, bool promoted) override {
        pg::Transaction transaction;
        SetSourceTimeline(migration_.id, timeline, began);
        if (promoted) {
            RecordEvent(migration_.id, "warning", migration_.stage,
                        "the source was promoted: it is on timeline " + std::to_string(timeline),
                        "All that was received is in its history.");
        }
        transaction.Commit();
    }
    void
    SourceClock(int64_t offset) override {
        state_.source_clock_offset.store(offset);
    }
    Lsn
    Applied() override {
        return Lsn{state_.applied_lsn.load()};
    }
    Lsn
    AppliedFlushed() override {
        return Lsn{state_.applied_flushed_lsn.load()};
    }
    Lsn
    SourcePosition() override {
        return Lsn{state_.source_lsn.load()};
    }
    bool
    ApplyDrained() override {
        return state_.drained_lsn.load() != 0 &&
               state_.drained_lsn.load() >= state_.received_lsn.load();
    }
    void
    Doing(const std::string &what) override {
        SetDoing(slot_, what);
    }

  private:
    SharedState &state_;
    WorkerSlot &slot_;
    const Migration &migration_;
    SpoolPosition last_position_;
};

} // namespace

void
RunReceiver(SharedState &state, WorkerSlot &slot, Oid database, const Migration &migration) {
    stage::ReceiveSettings settings;
    settings.conninfo = migration.settings.source;
    settings.slot = migration.slot_name;
    settings.plugin = *migration.plugin;
    settings.publications = migration.publications;
    settings.wal2json_numeric_option = migration.wal2json_numeric_option;
    // Several workers must find a row by the same bytes of its key, whenever it was received.
    settings.binary = pg::StreamBinary() && *migration.plugin == Plugin::kPgoutput &&
                      migration.settings.apply_jobs == 1;
    settings.system_identifier = migration.source_system_identifier;
    settings.timeline = migration.source_timeline;
    settings.timeline_began = migration.source_timeline_began;
    settings.spool_directory = WorkDirectory(database, migration.id).spool();
    settings.spool_identity = IdentityOf(migration);
    settings.snapshot_lsn = migration.snapshot_lsn;
    settings.spool_segment_size = pg::SpoolSegmentSize();
    settings.spool_is_known = state.spool_is_known.load() != 0;
    {
        pg::Transaction transaction;
        settings.origin_progress =
            ReadOrigins(migration.origin_name, migration.settings.apply_jobs, true).least;
        transaction.Commit();
    }
    SharedReceiveObserver observer(state, slot, migration);
    SetDoing(slot, "connecting to the source");
    stage::Receive(settings, observer);
}

} // namespace livemigrate::control
