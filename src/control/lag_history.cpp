#include "pg/prelude.hpp"

#include "control/lag_history.hpp"

#include "core/apply_progress.hpp"
#include "core/lsn.hpp"
#include "core/replay_lag.hpp"
#include "pg/spi.hpp"
#include "pg/transaction.hpp"

#include <string>

namespace livemigrate::control {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kSampleInterval{2};
constexpr std::chrono::minutes kThinningInterval{5};

pg::SqlValue
OrNull(bool known, int64_t value) {
    return known ? pg::SqlValue(std::to_string(value)) : std::nullopt;
}

void
Insert(int32_t migration, Stage stage, const SharedState &state) {
    const std::optional<int64_t> lag = ReplayLag(state, GetCurrentTimestamp());
    const uint64_t applied = AppliedUpTo(state);
    const uint64_t source = std::max(state.source_lsn.load(), state.received_lsn.load());
    const bool behind = stage < Stage::kCutover && source > applied;
    pg::Query("INSERT INTO livemigrate.lag_sample (migration, stage, replay_lag, lag_bytes, "
              "spool_bytes, changes_per_second, apply_bytes_per_second, source_bytes_per_second, "
              "copy_bytes_per_second, slot_retained_bytes) VALUES ($1::int, $2, "
              "$3::bigint * interval '1 microsecond', $4::bigint, $5::bigint, $6::float8, "
              "$7::float8, $8::float8, $9::float8, $10::bigint) ON CONFLICT DO NOTHING",
              {std::to_string(migration), std::string(StageName(stage)),
               OrNull(lag.has_value(), lag.value_or(0)),
               OrNull(applied != 0, behind ? static_cast<int64_t>(source - applied) : 0),
               std::to_string(state.spool_bytes.load()),
               std::to_string(state.changes_per_second.load()),
               std::to_string(state.apply_bytes_per_second.load()),
               std::to_string(state.source_bytes_per_second.load()),
               std::to_string(state.copy_bytes_per_second.load()),
               OrNull(state.slot_retained_bytes.load() != 0, state.slot_retained_bytes.load())});
}

// Of samples older than a quarter of an hour one each half minute stays, of those older than a day
// one each ten minutes, none after a month: some 7500 at most.
void
Thin(int32_t migration) {
    pg::Query(
        "DELETE FROM livemigrate.lag_sample s WHERE s.migration = $1::int AND "
        "(s.at < pg_catalog.now() - interval '30 days' OR "
        "s.at < pg_catalog.now() - interval '15 minutes' AND EXISTS (SELECT FROM "
        "livemigrate.lag_sample e WHERE e.migration = s.migration AND e.at < s.at AND e.at >= "
        "pg_catalog.date_bin(CASE WHEN s.at < pg_catalog.now() - interval '1 day' THEN "
        "interval '10 minutes' ELSE interval '30 seconds' END, s.at, timestamptz 'epoch')))",
        {std::to_string(migration)});
}

} // namespace

void
LagHistory::Sample(int32_t migration, Stage stage, const SharedState &state, bool at_once) {
    const Clock::time_point now = Clock::now();
    if (stage < Stage::kData || (!at_once && now - last_sample_ < kSampleInterval)) {
        return;
    }
    const bool thin = now - last_thinning_ >= kThinningInterval;
    pg::Transaction transaction;
    Insert(migration, stage, state);
    if (thin) {
        Thin(migration);
        last_thinning_ = now;
    }
    transaction.Commit();
    last_sample_ = now;
}

} // namespace livemigrate::control
