// A worker of compare_data: claims units of the session's comparison one by one.

#include "pg/prelude.hpp"

#include "control/comparison_shared.hpp"

#include "control/catalog.hpp"
#include "control/shared_memory.hpp"
#include "control/version_check.hpp"
#include "core/error.hpp"
#include "core/sql_text.hpp"
#include "pg/background_worker.hpp"
#include "pg/guard.hpp"
#include "pg/sql_row.hpp"
#include "pg/stop_request.hpp"
#include "pg/transaction.hpp"
#include "pg/wait.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>

namespace livemigrate::control {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

template <size_t N>
void
CopyText(char (&to)[N], const std::string &from) {
    strlcpy(to, from.c_str(), N);
}

bool
LeaderRuns(const SharedComparison &shared) {
    return shared.stop.load() == 0 &&
           pg::Call([&] { return BackendPidGetProc(shared.leader_pid) != nullptr; });
}

std::vector<pg::SqlValue>
UnitKey(const SharedComparison &shared, const stage::ComparisonUnit &unit) {
    return {std::to_string(shared.migration), std::to_string(shared.run), unit.schema, unit.name,
            std::to_string(unit.part)};
}

// Every unit gets its row early, so that one who resumes knows how the tables were cut, whatever
// was done.
void
KeepPlan(const SharedComparison &shared, const std::vector<stage::ComparisonUnit> &units) {
    std::vector<std::vector<std::string>> columns(5);
    for (const stage::ComparisonUnit &unit : units) {
        columns[0].push_back(unit.schema);
        columns[1].push_back(unit.name);
        columns[2].push_back(std::to_string(unit.part));
        columns[3].push_back(unit.condition);
        columns[4].push_back(std::to_string(unit.bytes));
    }
    std::vector<pg::SqlValue> parameters = {std::to_string(shared.migration),
                                            std::to_string(shared.run)};
    for (const std::vector<std::string> &column : columns) {
        parameters.emplace_back(TextArrayLiteral(column));
    }
    pg::Transaction transaction;
    pg::Query("DELETE FROM livemigrate.comparison_range WHERE migration = $1::int AND "
              "run < $2::bigint",
              {parameters[0], parameters[1]});
    pg::Query("INSERT INTO livemigrate.comparison_range (migration, run, schema_name, table_name, "
              "part, condition, bytes) SELECT $1::int, $2::bigint, s, t, p, c, b FROM ROWS FROM ("
              "pg_catalog.unnest($3::name[]), pg_catalog.unnest($4::name[]), "
              "pg_catalog.unnest($5::int[]), pg_catalog.unnest($6::text[]), "
              "pg_catalog.unnest($7::bigint[])) AS u(s, t, p, c, b) ON CONFLICT DO NOTHING",
              parameters);
    transaction.Commit();
}

void
KeepStart(const SharedComparison &shared, const stage::ComparisonUnit &unit) {
    pg::Transaction transaction;
    std::vector<pg::SqlValue> row = UnitKey(shared, unit);
    for (const std::string &value :
         {unit.condition, std::to_string(unit.bytes), std::to_string(MyProcPid)}) {
        row.emplace_back(value);
    }
    pg::Query("INSERT INTO livemigrate.comparison_range AS r (migration, run, schema_name, "
              "table_name, part, condition, bytes, state, pid, started_at) VALUES ($1::int, "
              "$2::bigint, $3::name, $4::name, $5::int, $6, $7::bigint, 'running', $8::int, "
              "pg_catalog.clock_timestamp()) ON CONFLICT (migration, run, schema_name, table_name, "
              "part) DO UPDATE SET state = 'running', pid = excluded.pid, "
              "started_at = excluded.started_at, finished_at = NULL, equal = NULL",
              row);
    transaction.Commit();
}

// What was compared to its end is not to be resumed.
void
KeepEnd(SharedComparison &shared) {
    for (uint32_t unit = 0; unit < shared.unit_count; unit++) {
        if (shared.results[unit].done.load() == 0) {
            return;
        }
    }
    pg::Transaction transaction;
    pg::Query("UPDATE livemigrate.comparison_range SET ended = true WHERE migration = $1::int AND "
              "run = $2::bigint AND NOT ended",
              {std::to_string(shared.migration), std::to_string(shared.run)});
    transaction.Commit();
}

void
KeepResult(const SharedComparison &shared, const stage::ComparisonUnit &unit,
           const stage::UnitResult &result) {
    pg::Transaction transaction;
    std::vector<pg::SqlValue> row = UnitKey(shared, unit);
    for (const std::string &value :
         {std::to_string(result.source_rows), std::to_string(result.target_rows),
          result.source_checksum, result.target_checksum, result.detail,
          shared.source_lsn == 0 ? std::string() : Lsn{shared.source_lsn}.ToString()}) {
        row.emplace_back(value);
    }
    row.push_back(unit.source_pages.empty() ? pg::SqlValue(pg::BoolText(result.IsEqual()))
                                            : std::nullopt);
    pg::Query("UPDATE livemigrate.comparison_range SET state = 'done', pid = NULL, "
              "finished_at = pg_catalog.clock_timestamp(), source_rows = $6::bigint, "
              "target_rows = $7::bigint, source_checksum = $8, target_checksum = $9, "
              "detail = NULLIF($10, ''), lsn = NULLIF($11, '')::pg_lsn, equal = $12::boolean "
              "WHERE migration = $1::int AND run = $2::bigint AND schema_name = $3::name AND "
              "table_name = $4::name AND part = $5::int",
              row);
    transaction.Commit();
}

// The unit's bytes may not be read faster than the limit: rests for the rest of its time.
void
Rest(const SharedComparison &shared, uint64_t bytes, Clock::time_point start) {
    if (shared.rate_limit == 0) {
        return;
    }
    const Clock::time_point until = start + milliseconds(bytes * 1000 / shared.rate_limit);
    while (Clock::now() < until && LeaderRuns(shared)) {
        pg::SleepOnLatch(std::min<milliseconds>(
            milliseconds(1000), std::chrono::duration_cast<milliseconds>(until - Clock::now())));
    }
}

stage::UnitResult
CompareAtSnapshot(SharedComparison &shared, source::Connection &source,
                  const stage::ComparisonUnit &unit) {
    pg::Transaction transaction;
    if (shared.AtSnapshot()) {
        pg::Call([&] {
            XactIsoLevel = XACT_REPEATABLE_READ;
            ImportSnapshot(shared.target_snapshot);
        });
    }
    stage::UnitResult result =
        stage::CompareUnit(source, unit, shared.max_rows, shared.AtSnapshot());
    transaction.Commit();
    return result;
}

bool
IsRangeOf(const stage::ComparisonUnit &unit, const stage::ComparisonUnit &whole) {
    return unit.table == whole.table && !unit.source_pages.empty();
}

// Waits for the ranges of pages that other workers have, and adds all up. nullopt if one of those
// has ended without it, or the session has.
std::optional<stage::UnitResult>
SumOfRanges(SharedComparison &shared, const std::vector<stage::ComparisonUnit> &units,
            const stage::ComparisonUnit &whole) {
    stage::UnitResult sum;
    for (uint32_t i = 0; i < units.size(); i++) {
        if (!IsRangeOf(units[i], whole)) {
            continue;
        }
        while (shared.results[i].done.load() == 0) {
            const int32_t worker = shared.results[i].worker.load();
            const bool lives =
                worker == 0 || pg::Call([&] { return BackendPidGetProc(worker) != nullptr; });
            if (shared.results[i].done.load() == 0 && (!lives || !LeaderRuns(shared))) {
                return std::nullopt;
            }
            pg::SleepOnLatch(milliseconds(50));
        }
        sum.Add(LoadResult(shared, i));
    }
    return sum;
}

uint64_t
BytesOf(const std::vector<stage::ComparisonUnit> &units, const stage::ComparisonUnit &unit) {
    if (unit.page_units == 0) {
        return unit.bytes;
    }
    uint64_t bytes = 0;
    for (const stage::ComparisonUnit &other : units) {
        bytes += IsRangeOf(other, unit) ? other.bytes : 0;
    }
    return bytes;
}

// The unit's figures are kept, so that one who resumes knows them. Ranges that do not add up alike
// say only that: then the table is read again as a whole, which names its rows, and does not take a
// row for a difference that has moved from one range to another between them.
void
CompareAndKeep(SharedComparison &shared, source::Connection &source,
               const std::vector<stage::ComparisonUnit> &units, uint32_t index,
               const std::optional<stage::UnitResult> &sum) {
    const stage::ComparisonUnit &unit = units.at(index);
    const Clock::time_point start = Clock::now();
    const std::string doing = "comparing " + unit.schema + "." + unit.name +
                              (unit.condition.empty() ? "" : " where " + unit.condition);
    pg::Call([&] { pgstat_report_activity(STATE_RUNNING, doing.c_str()); });
    KeepStart(shared, unit);
    const bool is_known = sum && sum->IsEqual();
    const stage::UnitResult result = is_known ? *sum : CompareAtSnapshot(shared, source, unit);
    KeepResult(shared, unit, result);
    StoreResult(shared, index, result);
    if (!is_known) {
        Rest(shared, BytesOf(units, unit), start);
    }
}

void
CompareInSession(SharedComparison &shared, source::Connection &source,
                 const std::vector<stage::ComparisonUnit> &units, uint32_t index,
                 const std::optional<stage::UnitResult> &sum) {
    const stage::ComparisonUnit &unit = units.at(index);
    const Clock::time_point start = Clock::now();
    if (sum && sum->IsEqual()) {
        StoreResult(shared, index, *sum);
        return;
    }
    StoreResult(shared, index, stage::CompareUnit(source, unit, shared.max_rows, false));
    Rest(shared, BytesOf(units, unit), start);
    pg::CheckInterrupts();
}

} // namespace

size_t
ComparisonSize(uint32_t units, uint32_t row_area, size_t packed) {
    return sizeof(SharedComparison) + units * (sizeof(SharedUnitResult) + row_area) + packed;
}

void
StoreResult(SharedComparison &shared, uint32_t unit, const stage::UnitResult &result) {
    SharedUnitResult &slot = shared.results[unit];
    slot.source_rows = result.source_rows;
    slot.target_rows = result.target_rows;
    CopyText(slot.source_checksum, result.source_checksum);
    CopyText(slot.target_checksum, result.target_checksum);
    CopyText(slot.detail, result.detail);
    char *area = shared.RowArea(unit);
    size_t left = shared.row_area;
    slot.rows = 0;
    for (const stage::DifferingRow &row : result.rows) {
        const size_t size = row.key.size() + 2;
        if (size > left) {
            break;
        }
        *area = static_cast<char>((row.on_source ? 1 : 0) | (row.on_target ? 2 : 0));
        memcpy(area + 1, row.key.c_str(), row.key.size() + 1);
        area += size;
        left -= size;
        slot.rows++;
    }
    slot.done.store(1);
}

stage::UnitResult
LoadResult(SharedComparison &shared, uint32_t unit) {
    const SharedUnitResult &slot = shared.results[unit];
    stage::UnitResult result;
    result.source_rows = slot.source_rows;
    result.target_rows = slot.target_rows;
    result.source_checksum = slot.source_checksum;
    result.target_checksum = slot.target_checksum;
    result.detail = slot.detail;
    const char *area = shared.RowArea(unit);
    for (uint32_t row = 0; row < slot.rows; row++) {
        const std::string key(area + 1);
        result.rows.push_back({key, (*area & 1) != 0, (*area & 2) != 0});
        area += key.size() + 2;
    }
    return result;
}

// Before anything else of the run is kept, the plan is: who resumes takes the units that are there
// for all that the tables were cut into. One worker does it for all; when that ends meanwhile,
// another does. False if the session has ended.
bool
EnsurePlan(SharedComparison &shared, const std::vector<stage::ComparisonUnit> &units) {
    while (shared.plan_is_kept.load() == 0) {
        if (!LeaderRuns(shared)) {
            return false;
        }
        int32_t nobody = 0;
        if (shared.plan_keeper.compare_exchange_strong(nobody, MyProcPid)) {
            KeepPlan(shared, units);
            shared.plan_is_kept.store(1);
        } else {
            pg::SleepOnLatch(milliseconds(10));
        }
    }
    return true;
}

void
CompareUnits(SharedComparison &shared, const std::string &conninfo, bool own_transactions) {
    const std::vector<stage::ComparisonUnit> units =
        stage::UnpackUnits({shared.Units(), shared.units_size});
    source::Connection source = stage::OpenComparingSession(conninfo, shared.source_snapshot);
    if (own_transactions && !EnsurePlan(shared, units)) {
        return;
    }
    while (LeaderRuns(shared)) {
        const uint32_t index = shared.next.fetch_add(1);
        if (index >= shared.unit_count) {
            break;
        }
        if (shared.results[index].done.load() != 0) {
            continue; // known from the comparison that is resumed
        }
        shared.results[index].worker.store(MyProcPid);
        std::optional<stage::UnitResult> sum;
        if (units.at(index).page_units > 0) {
            sum = SumOfRanges(shared, units, units[index]);
            if (!sum) {
                break;
            }
        }
        if (own_transactions) {
            CompareAndKeep(shared, source, units, index, sum);
        } else {
            CompareInSession(shared, source, units, index, sum);
        }
    }
    if (own_transactions) {
        KeepEnd(shared);
    }
}

namespace {

void
RunCompareWorker(SharedComparison &shared, const pg::WorkerArguments &arguments) {
    try {
        std::optional<Migration> migration;
        {
            pg::Transaction transaction;
            CheckVersion();
            pg::SetConfig("quote_all_identifiers", "off");
            migration = LoadMigration(arguments.migration);
            transaction.Commit();
        }
        if (migration && migration->source_version < 120000) {
            pg::Transaction transaction;
            pg::SetConfig("extra_float_digits", "0"); // see stage/compare_image
            transaction.Commit();
        }
        if (migration) {
            CompareUnits(shared, migration->settings.source, true);
        }
    } catch (const Error &error) {
        uint32_t none = 0;
        if (shared.stop.load() == 0 && shared.failed.compare_exchange_strong(none, 1)) {
            StoreError(shared.error, error);
            shared.failed.store(2);
        }
        shared.stop.store(1);
    }
    pg::WakeProcess(shared.leader_pid);
}

// However the worker ends.
void
ForgetWorker(dsm_segment *segment, Datum argument) {
    reinterpret_cast<std::atomic<int32_t> *>(DatumGetPointer(argument))->store(0);
    auto *shared = static_cast<SharedComparison *>(dsm_segment_address(segment));
    int32_t own = MyProcPid;
    shared->plan_keeper.compare_exchange_strong(own, 0);
}

void
CompareWorkerMain() {
    const pg::WorkerArguments arguments = pg::EnterWorker();
    dsm_segment *segment = nullptr;
    {
        pg::Transaction transaction;
        segment = pg::Call([&]() -> dsm_segment * {
            dsm_segment *attached = dsm_attach(arguments.dsm_handle);
            if (attached != nullptr) {
                dsm_pin_mapping(attached);
            }
            return attached;
        });
        transaction.Commit();
    }
    if (segment == nullptr) {
        return; // the session has gone
    }
    auto *shared = static_cast<SharedComparison *>(dsm_segment_address(segment));
    if (shared->magic != kComparisonMagic || shared->migration != arguments.migration) {
        return;
    }
    std::atomic<int32_t> &pid = shared->worker_pids[arguments.slot];
    pid.store(MyProcPid);
    pg::Call([&] { on_dsm_detach(segment, ForgetWorker, PointerGetDatum(&pid)); });
    RunCompareWorker(*shared, arguments);
}

} // namespace

} // namespace livemigrate::control

extern "C" {
PGDLLEXPORT void livemigrate_compare_main(Datum argument);
}

void
livemigrate_compare_main(Datum) {
    using namespace livemigrate;
    pg::InstallStopHandler(); // while signals are blocked
    pg::Entry([] {
        try {
            control::CompareWorkerMain();
        } catch (const pg::Stopped &) {
            // The session has what it wants, or has gone.
        }
    });
}
