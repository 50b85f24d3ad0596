// What holds the receiver back, told once.

#include "pg/prelude.hpp"

#include "control/coordinator.hpp"

#include "pg/guard.hpp"
#include "pg/guc.hpp"

namespace livemigrate::control {

using Clock = std::chrono::steady_clock;

namespace {

// The spool is at its limit again and again while apply is behind: that is one event until it has
// not been for so long.
constexpr std::chrono::seconds kSpoolCalm{10};

} // namespace

// What the receiver waits for now, for the status. The first time it becomes an event, however
// short it was.
SpoolHoldText
Coordinator::WatchSpool() {
    constexpr SpoolHold kAll[] = {SpoolHold::kSizeLimit, SpoolHold::kFreeDisk, SpoolHold::kDiskFull,
                                  SpoolHold::kOversized};
    const auto hold = pool_.Running(WorkerKind::kReceiver) > 0
                          ? static_cast<SpoolHold>(state_.spool_hold.load())
                          : SpoolHold::kNone;
    const uint32_t seen = state_.spool_holds.exchange(0) | SpoolHoldBit(hold);
    const Clock::time_point now = Clock::now();
    if (seen != 0) {
        last_hold_ = now;
    } else if (announced_holds_ != 0 && now - last_hold_ > kSpoolCalm) {
        announced_holds_ = 0;
        Event("info", "the spool has room again");
    }
    for (SpoolHold news : kAll) {
        if ((seen & ~announced_holds_ & SpoolHoldBit(news)) != 0) {
            announced_holds_ |= SpoolHoldBit(news);
            AnnounceHold(DescribeSpoolHold(news, pg::SpoolSizeLimit(), pg::SpoolMinFreeDisk()));
        }
    }
    return DescribeSpoolHold(hold, pg::SpoolSizeLimit(), pg::SpoolMinFreeDisk());
}

void
Coordinator::AnnounceHold(const SpoolHoldText &text) {
    Event("warning", text.message, text.hint);
    pg::Call([&] {
        ereport(LOG, (errmsg("livemigrate: migration \"%s\": %s", migration_.settings.name.c_str(),
                             text.message.c_str()),
                      errhint("%s", text.hint.c_str())));
    });
}

} // namespace livemigrate::control
