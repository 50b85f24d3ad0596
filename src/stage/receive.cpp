#include "pg/prelude.hpp"

#include "stage/receive.hpp"

#include "core/error.hpp"
#include "core/message_check.hpp"
#include "core/replication_message.hpp"
#include "core/spool_room.hpp"
#include "core/spool_writer.hpp"
#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/guc.hpp"
#include "pg/sql_row.hpp"
#include "pg/wait.hpp"
#include "source/catalog_query.hpp"
#include "source/receive_buffer.hpp"
#include "source/replication_stream.hpp"
#include "stage/receive_backlog.hpp"
#include "stage/receive_history.hpp"
#include "stage/receive_slot.hpp"
#include "stage/receive_types.hpp"

#include <algorithm>
#include <chrono>

namespace livemigrate::stage {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// Feedback at least this often, however quiet it is (wal_sender_timeout may be short).
constexpr milliseconds kStatusInterval{1000};
// Feedback about progress of apply at most this often.
constexpr milliseconds kFeedbackInterval{20};
// Group fsync: a transaction waits at most this long for its place on disk.
constexpr milliseconds kSyncInterval{200};
// While there is a backlog the receiver lets the socket fill for this long between bursts: a client
// that is always ready costs the walsender a send per message (doc/architecture.md, "Bursts").
constexpr milliseconds kBurstPause{10};
constexpr size_t kBurstBytes = 256 * 1024;
// This far behind the source there is a backlog, however little came at once.
constexpr uint64_t kBacklogBytes = 1 << 20;
// Between two looks at the spool's room, and at whether there is room again.
constexpr milliseconds kRoomInterval{200};
constexpr milliseconds kHoldPause{100};
// Between two attempts to write to a full disk.
constexpr milliseconds kDiskFullPause{1000};
// Until the source gives a slot free whose stream was left, and between two looks at it.
constexpr std::chrono::seconds kSlotReleaseLimit{60};
constexpr milliseconds kSlotReleasePause{100};
// While the source has an answer ready.
constexpr std::chrono::seconds kLongestWaitInChunk{30};
// What WAL becomes in the spool is mostly less, but wide compressed values are more.
constexpr uint64_t kSpoolBytesPerWal = 4;
// Messages, and bytes, between two looks at the clock while data keeps coming.
constexpr int kMessagesPerTurn = 4096;
constexpr size_t kBytesPerTurn = 16 << 20;

void
ServeInterrupts() {
    pg::CheckInterrupts();
}

// What is tried, until something is in the way: then it goes on with another connection.
struct ReceiveManner {
    bool binary = false; // values in binary form
    bool chunks = true;  // a backlog in chunks
};

// One connection's life: messages in, feedback out.
class Receiver : private BacklogSink {
  public:
    Receiver(ReceiveSettings &settings, ReceiveObserver &observer, const ReceiveManner &manner)
        : settings_(settings), observer_(observer), manner_(manner),
          stream_(
              source::Connection::Open(settings.conninfo, source::ConnectionKind::kReplication)) {}

    [[noreturn]] void
    Run() {
        const source::SystemIdentity identity =
            stream_.IdentifySource(settings_.system_identifier, settings_.timeline);
        const SlotState slot = CheckSlot(stream_.connection(), settings_);
        OpenSpool(slot);
        FollowHistory(stream_, identity, received_, settings_, observer_);
        ChooseOptions();
        ReadBacklog(identity);
        StartStreaming();
        for (;;) {
            const bool more = TakeIn();
            PublishWritten();
            SendFeedbackIfDue();
            WaitForMore(more);
        }
    }

  private:
    void
    OpenSpool(const SlotState &slot) {
        SpoolOptions options;
        options.directory = settings_.spool_directory;
        options.identity = settings_.spool_identity;
        options.start_lsn = settings_.snapshot_lsn;
        options.create = !settings_.origin_progress.valid();
        options.segment_size = settings_.spool_segment_size;
        options.compress = pg::SpoolIsCompressed();
        options.check_interrupts = ServeInterrupts;
        options.verify_all = !settings_.spool_is_known;
        // What is applied and flushed on the target needs no spool any more.
        if (slot.confirmed_flush > settings_.origin_progress) {
            options.confirmed_flush_lsn = slot.confirmed_flush;
        }
        observer_.Held(SpoolHold::kNone);
        observer_.Doing("checking the spool");
        while (!TryOpenSpool(options)) {
            observer_.Held(SpoolHold::kDiskFull);
            pg::SleepOnLatch(kDiskFullPause);
        }
        observer_.SpoolChecked();
        received_ = std::max(writer_->last_end_lsn(), settings_.origin_progress);
        flushed_ = std::max(writer_->synced_end_lsn(), settings_.origin_progress);
        if (received_ > writer_->last_end_lsn()) {
            // A crash took the spool's tail and left the origin: what is applied is not asked for
            // again, and the spool says so.
            writer_->AppendPosition(received_);
        }
        readable_ = received_;
        PublishWritten();
        observer_.Held(hold_);
        observer_.Flushed(flushed_, writer_->bytes_on_disk());
    }

    // Opening writes a little, too. False if the disk is full.
    bool
    TryOpenSpool(const SpoolOptions &options) {
        try {
            writer_ = std::make_unique<SpoolWriter>(options);
            return true;
        } catch (const Error &error) {
            if (error.sqlstate() != sqlstate::kDiskFull) {
                throw;
            }
            return false;
        }
    }

    void
    ChooseOptions() {
        options_.slot = settings_.slot;
        options_.plugin = settings_.plugin;
        options_.publications = settings_.publications;
        options_.streaming = pg::StreamInProgress();
        if (manner_.binary && stream_.OffersBinary()) {
            types_ = TypesForBinary(stream_.connection(), settings_.publications);
        }
        options_.binary = types_.has_value();
        options_.plugin_options = source::Wal2jsonOptions(settings_.wal2json_numeric_option);
    }

    void
    ReadBacklog(const source::SystemIdentity &server) {
        if (!manner_.chunks) {
            return;
        }
        observer_.Doing("receiving");
        ReceiveBacklog(stream_.connection(), server, settings_.conninfo, options_, *this);
    }

    void
    StartStreaming() {
        options_.start = received_;
        holds_bursts_ = source::HoldsBursts(PQsocket(stream_.connection().raw()));
        stream_.Start(options_);
        observer_.Doing("streaming");
    }

    bool
    HasRoomFor(uint64_t bytes_of_wal) override {
        LookForRoom();
        return room_.hold == SpoolHold::kNone && room_.bytes / kSpoolBytesPerWal > bytes_of_wal;
    }

    void
    Take(Lsn lsn, std::string_view payload) override {
        Write([&] { TakeData(lsn, payload); });
    }

    void
    ShowTaken() override {
        Write([&] {
            writer_->Flush();
            SyncIfDue();
        });
        PublishWritten();
        pg::CheckInterrupts();
        if (Clock::now() - last_look_ >= kRoomInterval) {
            WaitForRoom();
        }
        waits_since_.reset();
    }

    Lsn
    Complete(Lsn end) override {
        if (writer_->in_transaction()) {
            throw Error(sqlstate::kProtocolViolation,
                        "the source ended its answer inside a transaction");
        }
        Write([&] { writer_->AppendPosition(end); });
        received_ = std::max(received_, writer_->last_end_lsn());
        Write([&] { Sync(); });
        PublishWritten();
        return confirmed();
    }

    // A write that is refused for want of space changes nothing and is made again; what comes is
    // left in the socket meanwhile.
    template <typename F>
    void
    Write(const F &write) {
        for (;;) {
            try {
                return write();
            } catch (const Error &error) {
                if (error.sqlstate() != sqlstate::kDiskFull || writer_->unusable()) {
                    throw;
                }
            }
            SetHold(SpoolHold::kDiskFull);
            CheckWaitInChunk();
            pg::SleepOnLatch(kDiskFullPause);
        }
    }

    void
    WaitForRoom() {
        for (LookForRoom(); room_.bytes == 0; LookForRoom()) {
            SetHold(room_.hold);
            CheckWaitInChunk();
            pg::Wait({.timeout = kHoldPause});
            Write([&] { SyncIfDue(); });
            PublishWritten();
        }
        SetHold(room_.hold);
    }

    // The source's statement keeps its snapshot, and its temporary file.
    void
    CheckWaitInChunk() {
        if (!waits_since_) {
            waits_since_ = Clock::now();
        } else if (Clock::now() - *waits_since_ >= kLongestWaitInChunk) {
            throw BacklogRefused{"the spool has no room for the rest of a chunk"};
        }
    }

    Lsn
    confirmed() override {
        return Status().flushed;
    }

    Lsn
    received() override {
        return received_;
    }

    // Reads and writes, as far as there is room. True if more may be there. A write that is refused
    // for want of space changes nothing and is tried again.
    bool
    TakeIn() {
        burst_bytes_ = 0;
        if (hold_ == SpoolHold::kDiskFull && Clock::now() - last_look_ < kDiskFullPause) {
            return false;
        }
        if (room_.bytes == 0 || Clock::now() - last_look_ >= kRoomInterval) {
            LookForRoom();
        }
        try {
            const bool more = room_.bytes > 0 && ReadBurst();
            writer_->Flush();
            SyncIfDue();
            SetHold(room_.hold);
            return more;
        } catch (const Error &error) {
            if (error.sqlstate() != sqlstate::kDiskFull || writer_->unusable()) {
                throw;
            }
            SetHold(SpoolHold::kDiskFull);
            return false;
        }
    }

    void
    LookForRoom() {
        last_look_ = Clock::now();
        const uint64_t limit = pg::SpoolSizeLimit();
        writer_->bytes_on_disk(); // learns what apply has removed
        writer_->set_compress(pg::SpoolIsCompressed());
        writer_->set_segment_size(SegmentSizeUnderLimit(settings_.spool_segment_size, limit));
        room_ =
            RoomInSpool({.size = writer_->size(),
                         .free_disk = writer_->free_disk_bytes(),
                         .size_limit = limit,
                         .min_free_disk = pg::SpoolMinFreeDisk(),
                         .apply_makes_room = writer_->ApplyMakesRoom(observer_.AppliedFlushed())});
    }

    bool
    IsWaiting() const {
        return hold_ != SpoolHold::kNone && hold_ != SpoolHold::kOversized;
    }

    void
    SetHold(SpoolHold hold) {
        if (hold == hold_) {
            return;
        }
        hold_ = hold;
        observer_.Held(hold);
        observer_.Doing(
            hold == SpoolHold::kNone
                ? "streaming"
                : DescribeSpoolHold(hold, pg::SpoolSizeLimit(), pg::SpoolMinFreeDisk()).message);
    }

    // Takes what libpq has, then what the socket holds, up to a bound. True if more may be there.
    bool
    ReadBurst() {
        int turn = 0;
        if (unwritten_) {
            Take(*unwritten_);
            unwritten_.reset();
        }
        while (room_.bytes > 0) {
            const std::optional<std::string_view> message = stream_.TryReceive();
            if (!message) {
                if (input_consumed_) {
                    input_consumed_ = false;
                    return false;
                }
                stream_.ConsumeInput();
                input_consumed_ = true;
                continue;
            }
            input_consumed_ = false;
            burst_bytes_ += message->size();
            room_.bytes -= std::min<uint64_t>(room_.bytes, message->size());
            unwritten_ = ParseReplicationMessage(*message);
            Take(*unwritten_);
            unwritten_.reset();
            if (++turn >= kMessagesPerTurn || burst_bytes_ >= kBytesPerTurn) {
                break;
            }
        }
        return true;
    }

    void
    TakeData(Lsn lsn, std::string_view payload) {
        Append(lsn, payload);
        if (!writer_->in_transaction()) {
            received_ = std::max(received_, writer_->last_end_lsn());
        }
    }

    void
    Append(Lsn lsn, std::string_view payload) {
        try {
            CheckMessage(settings_.plugin, payload, writer_->in_chunk());
            writer_->Append(lsn, types_ ? types_->Translate(payload) : payload);
        } catch (const Error &error) {
            if (error.sqlstate() != sqlstate::kProtocolViolation) {
                throw;
            }
            throw WithMessage(error, settings_.plugin, lsn, payload);
        }
    }

    void
    Take(const ReplicationMessage &message) {
        if (const auto *data = std::get_if<XLogData>(&message)) {
            last_send_time_ = data->send_time;
            TakeData(data->start_lsn, data->payload);
            return;
        }
        const auto &keepalive = std::get<Keepalive>(message);
        last_send_time_ = keepalive.send_time;
        reply_requested_ = reply_requested_ || keepalive.reply_requested;
        if (!writer_->in_transaction() && keepalive.end_lsn > received_) {
            received_ = keepalive.end_lsn;
            idle_position_ = keepalive.end_lsn;
        }
    }

    // A write that was refused leaves in the buffer what nobody can read: it is not told of before
    // it is in the file.
    void
    PublishWritten() {
        if (writer_->buffered_bytes() == 0) {
            readable_ = received_;
        }
        observer_.Written(writer_->written(), readable_);
        if (last_send_time_ != 0) {
            const TimestampTz now = GetCurrentTimestamp();
            observer_.SourceClock(last_send_time_ - now);
        }
    }

    void
    SyncIfDue() {
        const Clock::time_point now = Clock::now();
        if (now - last_sync_ < kSyncInterval) {
            return;
        }
        last_sync_ = now;
        if (idle_position_ > writer_->last_end_lsn() && !writer_->in_transaction()) {
            // On an idle source the position moves all the time: record it rarely.
            if (now - last_position_ >= std::chrono::seconds(10)) {
                writer_->AppendPosition(idle_position_);
                last_position_ = now;
            }
        }
        Sync();
    }

    void
    Sync() {
        flushed_ = std::max(flushed_, writer_->Sync());
        observer_.Flushed(flushed_, writer_->bytes_on_disk());
    }

    StandbyStatus
    Status() {
        StandbyStatus status;
        status.written = received_;
        // What the target has flushed is as safe as what the spool has.
        status.flushed = std::max(flushed_, observer_.AppliedFlushed());
        status.applied = observer_.Applied();
        if (observer_.ApplyDrained() && status.flushed >= writer_->last_end_lsn() &&
            !writer_->in_transaction()) {
            // Nothing is on its way: the positions of an idle stream count as applied. The slot
            // itself only advances to what the spool records, see SyncIfDue.
            status.applied = std::max(status.applied, received_);
        }
        return status;
    }

    void
    SendFeedbackIfDue() {
        const Clock::time_point now = Clock::now();
        StandbyStatus status = Status();
        const bool moved =
            status.applied != last_status_.applied || status.flushed != last_status_.flushed;
        if (!reply_requested_ && now - last_feedback_ < kStatusInterval &&
            (!moved || now - last_feedback_ < kFeedbackInterval)) {
            return;
        }
        // Ask for a keepalive now and then, so that the position moves on a quiet source; not while
        // nothing is read, for they would pile up in the walsender.
        status.reply_requested = !IsWaiting() && now - last_feedback_ >= kStatusInterval;
        status.client_time = GetCurrentTimestamp();
        BuildStandbyStatus(status, feedback_);
        stream_.Send(feedback_);
        last_status_ = status;
        last_feedback_ = now;
        reply_requested_ = false;
    }

    void
    WaitForMore(bool more) {
        if (IsWaiting()) {
            pg::Wait({.timeout = kHoldPause});
            return;
        }
        if (WantsPause()) {
            PauseBetweenBursts();
            return;
        }
        if (more) {
            pg::CheckInterrupts();
            return;
        }
        // Apply does not wake us when it has committed: that would be for every transaction.
        const Lsn applied = Status().applied;
        const bool moving = applied != last_status_.applied || applied < received_;
        const bool unsynced = writer_->last_end_lsn() > flushed_;
        const milliseconds timeout = moving     ? kFeedbackInterval
                                     : unsynced ? kSyncInterval
                                                : kStatusInterval;
        stream_.connection().input_wait().Wait(timeout);
    }

    bool
    WantsPause() {
        return holds_bursts_ &&
               (burst_bytes_ >= kBurstBytes || (burst_bytes_ > 0 && IsFarBehind()));
    }

    bool
    IsFarBehind() {
        const Lsn source = observer_.SourcePosition();
        return source.value > received_.value + kBacklogBytes;
    }

    // The socket fills on purpose, whoever sets the latch meanwhile.
    static void
    PauseBetweenBursts() {
        const Clock::time_point end = Clock::now() + kBurstPause;
        for (Clock::time_point now = Clock::now(); now < end; now = Clock::now()) {
            pg::Wait({.timeout = std::chrono::ceil<milliseconds>(end - now)});
        }
    }

    ReceiveSettings &settings_;
    ReceiveObserver &observer_;
    const ReceiveManner manner_;
    source::ReplicationStream stream_;
    source::StreamOptions options_;
    std::optional<WireTypes> types_; // while values come in binary form
    std::unique_ptr<SpoolWriter> writer_;
    // A message that could not be written, in libpq's memory until the next is asked for.
    std::optional<ReplicationMessage> unwritten_;
    SpoolHold hold_ = SpoolHold::kNone;
    SpoolRoom room_{.bytes = 0}; // what is left of it since the last look
    Lsn received_;
    Lsn readable_; // of it: all that commits before lies below written()
    Lsn flushed_;
    Lsn idle_position_;
    int64_t last_send_time_ = 0;
    bool input_consumed_ = false;
    bool reply_requested_ = false;
    bool holds_bursts_ = false; // the kernel, while nothing is read
    size_t burst_bytes_ = 0;
    std::optional<Clock::time_point> waits_since_; // for room, in a chunk
    StandbyStatus last_status_;
    std::string feedback_;
    Clock::time_point last_look_{};
    Clock::time_point last_sync_{};
    Clock::time_point last_feedback_{};
    Clock::time_point last_position_{};
};

// Runs until something is in the manner's way, and says what is not to be tried any more.
ReceiveManner
ReceiveInManner(ReceiveSettings &settings, ReceiveObserver &observer, ReceiveManner manner) {
    try {
        Receiver(settings, observer, manner).Run();
    } catch (const WireTypes::Unknown &unknown) {
        LogUnknownType(unknown);
        manner.binary = false;
    } catch (const BacklogRefused &refusal) {
        LogRefusal(refusal);
        manner.chunks = false;
    }
    return manner;
}

[[noreturn]] void
ReceiveInAnyManner(ReceiveSettings &settings, ReceiveObserver &observer) {
    ReceiveManner manner = {.binary = settings.binary};
    // The walsender that was left takes a moment to see it.
    Clock::time_point may_be_in_use_until = Clock::now();
    for (;;) {
        try {
            manner = ReceiveInManner(settings, observer, manner);
            may_be_in_use_until = Clock::now() + kSlotReleaseLimit;
        } catch (const Error &error) {
            if (error.sqlstate() != sqlstate::kObjectInUse || Clock::now() >= may_be_in_use_until) {
                throw;
            }
            pg::SleepOnLatch(kSlotReleasePause);
        }
    }
}

} // namespace

void
Receive(ReceiveSettings settings, ReceiveObserver &observer) {
    try {
        ReceiveInAnyManner(settings, observer);
    } catch (const Error &error) {
        throw DescribeStreamError(error);
    }
}

} // namespace livemigrate::stage
