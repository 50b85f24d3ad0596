#include "pg/prelude.hpp"

#include "control/comparison.hpp"

#include "control/apply_hold.hpp"
#include "control/comparison_shared.hpp"
#include "control/comparison_waits.hpp"
#include "control/shared_memory.hpp"
#include "control/source_blockers.hpp"
#include "core/error.hpp"
#include "core/operator_text.hpp"
#include "core/sql_text.hpp"
#include "pg/background_worker.hpp"
#include "pg/guard.hpp"
#include "pg/guc.hpp"
#include "pg/local_settings.hpp"
#include "pg/sql_row.hpp"
#include "pg/stop_request.hpp"
#include "pg/wait.hpp"
#include "source/catalog_query.hpp"
#include "source/replication_stream.hpp"
#include "stage/compare_plan.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <map>
#include <new>
#include <optional>

namespace livemigrate::control {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// Room for each row that is named, and for those of all units.
constexpr size_t kRowBytes = 300;
constexpr size_t kAllRowAreas = 64 << 20;
constexpr milliseconds kLookInterval{500};

// Who keeps the source from giving a consistent point.
std::string
OldestWriters(const std::string &conninfo) {
    source::Connection monitor = source::Connection::Open(conninfo, source::ConnectionKind::kSql);
    const std::string who = FindBlockers(monitor).who;
    return who.empty() ? "" : " The source waits for" + who + ".";
}

// Snapshots of source and target that see the same moment, for as long as this lives and the
// transaction is open.
class ConsistentPoint {
  public:
    ConsistentPoint(const Migration &migration, const SharedSegment &segment)
        : began_(Clock::now()), held_(std::in_place, segment, pg::CompareHoldLimit()) {
        const Clock::time_point deadline = Clock::now() + pg::CompareHoldLimit();
        source::ReplicationStream stream(source::Connection::Open(
            migration.settings.source, source::ConnectionKind::kReplication));
        const source::CreatedSlot slot = stream.CreateSlot(
            "livemigrate_compare_" + std::to_string(MyProcPid), *migration.plugin, true, [&] {
                if (Clock::now() > deadline) {
                    ThrowNoPoint(migration);
                }
            });
        // The slot's session is not needed once another one has its snapshot.
        session_.emplace(stage::OpenComparingSession(migration.settings.source, slot.snapshot));
        source_snapshot_ =
            session_->Query("SELECT pg_catalog.pg_export_snapshot()").Scalar().value();
        lsn_ = slot.consistent_point;
        // So that an idle source's stream gets beyond the point.
        source::Connection::Open(migration.settings.source, source::ConnectionKind::kSql)
            .Query("SELECT pg_catalog.pg_logical_emit_message(true, 'livemigrate', 'compare')");
        held_->MoveTo(lsn_);
        target_snapshot_ = pg::Call([] { return ExportSnapshot(GetTransactionSnapshot()); });
        if (!held_->IsValid()) {
            ThrowNoPoint(migration);
        }
        if (pg::CompareHoldsApply()) {
            held_->Extend();
        } else {
            held_.reset();
            ended_ = Clock::now();
        }
    }

    // Until now, where it still is.
    double
    held_seconds() const {
        return std::chrono::duration<double>(ended_.value_or(Clock::now()) - began_).count();
    }
    Lsn
    lsn() const {
        return lsn_;
    }
    const std::string &
    source_snapshot() const {
        return source_snapshot_;
    }
    const std::string &
    target_snapshot() const {
        return target_snapshot_;
    }

  private:
    [[noreturn]] static void
    ThrowNoPoint(const Migration &migration) {
        throw Error(sqlstate::kQueryCanceled,
                    "source and target did not come to a common position in time")
            .Detail("The limit is " +
                    FormatSeconds(static_cast<double>(pg::CompareHoldLimit().count()) / 1000) +
                    "; apply goes on." + OldestWriters(migration.settings.source))
            .Hint("Compare when no long transactions write to the source, or raise the limit: SET "
                  "livemigrate.compare_hold_limit = '10min';");
    }

    Clock::time_point began_;
    std::optional<Clock::time_point> ended_;
    std::optional<HeldApply> held_;
    std::optional<source::Connection> session_; // keeps the snapshot
    std::string source_snapshot_;
    std::string target_snapshot_;
    Lsn lsn_;
};

// The segment, and the workers that use it. The destructor stops them.
class Workers {
  public:
    Workers(const Migration &migration, size_t size) : migration_(migration) {
        segment_ = pg::Call([&] { return dsm_create(size, 0); });
        memset(dsm_segment_address(segment_), 0, size);
        pg::Call([&] { on_dsm_detach(segment_, StopWorkers, PointerGetDatum(&shared())); });
    }
    ~Workers() { dsm_detach(segment_); }
    Workers(const Workers &) = delete;
    Workers &operator=(const Workers &) = delete;

    SharedComparison &
    shared() {
        return *static_cast<SharedComparison *>(dsm_segment_address(segment_));
    }

    // Returns how many could be started.
    size_t
    Start(size_t count) {
        while (handles_.size() < count) {
            pg::WorkerSpec spec;
            spec.type = "livemigrate compare worker";
            spec.name = spec.type + " for " + migration_.settings.name;
            spec.function = "livemigrate_compare_main";
            spec.arguments = {MyDatabaseId,
                              GetUserId(),
                              migration_.id,
                              static_cast<uint32_t>(handles_.size()),
                              0,
                              dsm_segment_handle(segment_),
                              InvalidTransactionId,
                              0};
            BackgroundWorkerHandle *handle = nullptr;
            if (!pg::StartWorker(spec, &handle)) {
                break;
            }
            handles_.push_back(handle);
        }
        return handles_.size();
    }

    // Until all have ended. Throws the error of the first that failed.
    void
    WaitForAll() {
        ComparisonWaits waits(migration_.settings.source);
        while (Running()) {
            pg::SleepOnLatch(kLookInterval);
            waits.Look(shared());
        }
        if (shared().failed.load() == 2) {
            throw LoadError(shared().error);
        }
    }

  private:
    // Also when the session is terminated: workers in the middle of a unit do not look.
    static void
    StopWorkers(dsm_segment *, Datum argument) {
        auto *shared = reinterpret_cast<SharedComparison *>(DatumGetPointer(argument));
        shared->stop.store(1);
        for (const std::atomic<int32_t> &worker : shared->worker_pids) {
            const pid_t pid = worker.load();
            if (pid != 0 && BackendPidGetProc(pid) != nullptr) {
                pg::RequestStop(pid);
            }
        }
    }

    bool
    Running() const {
        return std::any_of(handles_.begin(), handles_.end(), [](BackgroundWorkerHandle *handle) {
            pid_t pid = 0;
            const BgwHandleStatus status =
                pg::Call([&] { return GetBackgroundWorkerPid(handle, &pid); });
            return status == BGWH_STARTED || status == BGWH_NOT_YET_STARTED;
        });
    }

    const Migration &migration_;
    dsm_segment *segment_;
    std::vector<BackgroundWorkerHandle *> handles_;
};

// An interrupted comparison: its units, and the results of those that were equal; of ranges of
// pages those that were read when the migration was done. As long as changes are applied, rows move
// from range to range between one moment that is compared and the next.
struct Interrupted {
    int64_t run = 0;
    stage::KnownParts parts;
    std::map<std::tuple<std::string, std::string, std::string>, stage::UnitResult> results;
};

Interrupted
LoadInterrupted(int32_t migration) {
    Interrupted interrupted;
    const pg::SqlResult rows = pg::Query(
        "SELECT r.run, r.schema_name, r.table_name, r.condition, COALESCE(r.equal, "
        "r.lsn IS NULL AND r.finished_at > m.ended_at AND r.detail IS NULL), r.source_rows, "
        "r.target_rows, r.source_checksum, r.target_checksum FROM livemigrate.comparison_range r "
        "JOIN livemigrate.migration m ON m.id = r.migration WHERE m.id = $1::int AND NOT r.ended "
        "AND r.run = (SELECT pg_catalog.max(run) FROM livemigrate.comparison_range WHERE "
        "migration = $1::int) ORDER BY r.part",
        {std::to_string(migration)});
    for (const pg::SqlRow &row : rows.rows) {
        interrupted.run = pg::Number<int64_t>(row, 0);
        const std::string schema = pg::Text(row, 1);
        const std::string name = pg::Text(row, 2);
        interrupted.parts[{schema, name}].push_back(pg::Text(row, 3));
        if (pg::Flag(row, 4)) {
            stage::UnitResult &result = interrupted.results[{schema, name, pg::Text(row, 3)}];
            result.source_rows = pg::Number<int64_t>(row, 5);
            result.target_rows = pg::Number<int64_t>(row, 6);
            result.source_checksum = pg::Text(row, 7);
            result.target_checksum = pg::Text(row, 8);
        }
    }
    return interrupted;
}

void
AddUnit(TableComparison &table, const stage::ComparisonUnit &unit, const stage::UnitResult &result,
        size_t max_rows) {
    if (!unit.source_pages.empty()) {
        return; // the unit that they add up to has them
    }
    table.source_rows = stage::AddRows(table.source_rows, result.source_rows);
    table.target_rows = stage::AddRows(table.target_rows, result.target_rows);
    table.source_checksum = stage::AddSums(table.source_checksum, result.source_checksum);
    table.target_checksum = stage::AddSums(table.target_checksum, result.target_checksum);
    table.equal = table.equal && result.IsEqual();
    if (!result.detail.empty() && table.detail.empty()) {
        table.detail = result.detail;
    }
    if (!result.IsEqual() && !unit.condition.empty()) {
        const std::string range = unit.condition.substr(0, 200);
        table.detail += (table.detail.empty() ? "Differs where " : "; ") + range;
    }
    for (const stage::DifferingRow &row : result.rows) {
        if (table.rows.size() < max_rows) {
            table.rows.push_back(row);
        }
    }
}

// All of its workers: a hold needs every one to stand.
bool
ApplyRuns(const Migration &migration, const SharedState &state) {
    if ((migration.stage != Stage::kCatchup && migration.stage != Stage::kStreaming) ||
        migration.stage_ended || state.coordinator_pid.load() == 0 ||
        state.endpos_reached.load() != 0) {
        return false;
    }
    return pg::Call([&] {
        for (int i = 0; i < migration.settings.apply_jobs; i++) {
            if (BackendPidGetProc(state.apply[i].pid.load()) == nullptr) {
                return false;
            }
        }
        return true;
    });
}

void
CheckCanExport() {
    if (IsolationUsesXactSnapshot() || IsSubTransaction()) {
        throw Error("25001", "cannot compare while changes are applied in this transaction")
            .Detail("A snapshot of the target must be taken and shared with the workers, which is "
                    "possible in READ COMMITTED and outside subtransactions only.")
            .Hint("Run the call by itself.");
    }
}

void
FillShared(SharedComparison &shared, const Migration &migration, const stage::ComparisonPlan &plan,
           const std::string &packed, uint32_t row_area, const ComparisonSettings &settings,
           size_t jobs) {
    shared.migration = migration.id;
    shared.leader_pid = MyProcPid;
    shared.unit_count = static_cast<uint32_t>(plan.units.size());
    shared.max_rows = static_cast<uint32_t>(settings.max_rows);
    shared.row_area = row_area;
    shared.units_size = static_cast<uint32_t>(packed.size());
    shared.rate_limit = pg::CompareRateLimit() / jobs;
    memcpy(shared.Units(), packed.data(), packed.size());
    shared.magic = kComparisonMagic;
}

void
UsePoint(SharedComparison &shared, const ConsistentPoint &point) {
    shared.source_lsn = point.lsn().value;
    strlcpy(shared.source_snapshot, point.source_snapshot().c_str(),
            sizeof(shared.source_snapshot));
    strlcpy(shared.target_snapshot, point.target_snapshot().c_str(),
            sizeof(shared.target_snapshot));
}

// Alone, without workers, and in one transaction, which keeps nothing until it ends.
void
CompareHere(SharedComparison &shared, const Migration &migration) {
    pg::Call([] {
        ereport(NOTICE,
                (errmsg("no background worker slot is free: this session compares alone"),
                 errdetail("If it is interrupted, what it has compared is not kept for resume."),
                 errhint("For workers compare when others have ended, or raise "
                         "max_worker_processes and restart the target.")));
    });
    shared.rate_limit = pg::CompareRateLimit();
    const bool short_floats = migration.source_version < 120000;
    const pg::LocalSettings settings({{"bytea_output", "hex"},
                                      {"DateStyle", "ISO, MDY"},
                                      {"IntervalStyle", "postgres"},
                                      {"extra_float_digits", short_floats ? "0" : "3"},
                                      {"TimeZone", "UTC"},
                                      {"lc_monetary", "C"},
                                      {"xmloption", "content"},
                                      {"search_path", ""},
                                      {"row_security", "off"},
                                      {"quote_all_identifiers", "off"},
                                      {"jit", "off"}});
    CompareUnits(shared, migration.settings.source, false);
}

void
UseKnown(SharedComparison &shared, const stage::ComparisonPlan &plan,
         const Interrupted &interrupted) {
    for (uint32_t unit = 0; unit < plan.units.size(); unit++) {
        const stage::ComparisonUnit &what = plan.units[unit];
        auto known = interrupted.results.find({what.schema, what.name, what.condition});
        if (!what.source_pages.empty() && known == interrupted.results.end()) {
            known = interrupted.results.find({what.schema, what.name, ""}); // the whole is equal
        }
        if (known != interrupted.results.end()) {
            StoreResult(shared, unit, known->second);
        }
    }
}

std::vector<TableComparison>
Collect(SharedComparison &shared, const std::vector<stage::ComparedTable> &tables,
        const stage::ComparisonPlan &plan, size_t max_rows) {
    std::vector<TableComparison> results(tables.size());
    for (size_t i = 0; i < tables.size(); i++) {
        results[i].relation = ComparedName(tables[i].schema, tables[i].name);
        results[i].detail = plan.details[i];
        results[i].equal = plan.details[i].empty();
        results[i].lsn = Lsn{shared.source_lsn};
    }
    for (uint32_t unit = 0; unit < plan.units.size(); unit++) {
        if (shared.results[unit].done.load() == 0) {
            throw Error(sqlstate::kAdminShutdown, "a worker that compared has ended unexpectedly")
                .Hint("SELECT * FROM livemigrate.compare_data(resume => true);");
        }
        AddUnit(results[plan.units[unit].table], plan.units[unit], LoadResult(shared, unit),
                max_rows);
    }
    return results;
}

} // namespace

std::string
ComparedName(const std::string &schema, const std::string &table) {
    char *name =
        pg::Call([&] { return quote_qualified_identifier(schema.c_str(), table.c_str()); });
    std::string result(name);
    pfree(name);
    return result;
}

std::vector<TableComparison>
Compare(const Migration &migration, const std::vector<stage::ComparedTable> &tables,
        const ComparisonSettings &settings) {
    std::optional<SharedSegment> segment =
        SharedSegment::Attach(migration.dsm_handle, migration.id);
    const bool streams = segment && ApplyRuns(migration, segment->state());
    if (streams) {
        CheckCanExport();
    }
    const Interrupted interrupted = settings.resume ? LoadInterrupted(migration.id) : Interrupted();
    stage::ComparisonPlan plan;
    {
        source::Connection source = stage::OpenComparingSession(migration.settings.source, "");
        source::CheckSameServer(
            source, migration.source_system_identifier,
            NamedHint(migration.id, "SELECT * FROM livemigrate.compare_data();"));
        plan = stage::PlanComparison(source, tables, pg::CompareRangeSize(), interrupted.parts);
    }
    const size_t jobs = std::clamp<size_t>(plan.units.size(), 1, pg::CompareJobs());
    const std::string packed = stage::PackUnits(plan.units);
    const auto row_area = static_cast<uint32_t>(
        std::min(settings.max_rows * kRowBytes,
                 std::max(kAllRowAreas / std::max<size_t>(plan.units.size(), 1), kRowBytes)));
    Workers workers(migration, ComparisonSize(static_cast<uint32_t>(plan.units.size()), row_area,
                                              packed.size()));
    SharedComparison &shared = workers.shared();
    FillShared(shared, migration, plan, packed, row_area, settings, jobs);
    shared.run = interrupted.run != 0 ? interrupted.run : GetCurrentTimestamp();
    UseKnown(shared, plan, interrupted);
    std::optional<ConsistentPoint> point;
    if (streams) {
        point.emplace(migration, *segment);
        UsePoint(shared, *point);
    }
    if (workers.Start(jobs) > 0) {
        workers.WaitForAll();
    } else if (streams) {
        throw Error(sqlstate::kConfigurationLimitExceeded,
                    "no free background worker slot to compare with")
            .Detail("All of max_worker_processes are taken; while changes are applied, the session "
                    "itself cannot compare.")
            .Hint("Compare when others have ended, or after cutover; or run: ALTER SYSTEM SET "
                  "max_worker_processes = " +
                  std::to_string(static_cast<size_t>(max_worker_processes) + jobs) +
                  "; -- then restart the target");
    } else {
        CompareHere(shared, migration);
    }
    std::vector<TableComparison> results = Collect(shared, tables, plan, settings.max_rows);
    for (TableComparison &result : results) {
        result.held_seconds = point ? point->held_seconds() : 0;
    }
    return results;
}

} // namespace livemigrate::control
