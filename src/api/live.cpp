// The functions behind the views: workers, rates and the origin's progress.

#include "pg/prelude.hpp"

#include "api/arguments.hpp"
#include "api/figures.hpp"
#include "api/sql_function.hpp"
#include "control/work_directory.hpp"
#include "pg/guard.hpp"
#include "pg/sql_row.hpp"

#include <sys/statvfs.h>

namespace livemigrate::api {

namespace {

using pg::SqlRow;
using pg::SqlValue;

std::vector<SqlValue>
WorkerRow(const char *kind, int32_t pid, const std::string &what, int64_t since,
          const WorkerSlot *slot) {
    const char *since_text = pg::Call([&] {
        return since == 0 ? nullptr
                          : DatumGetCString(
                                DirectFunctionCall1(timestamptz_out, TimestampTzGetDatum(since)));
    });
    std::vector<SqlValue> row = {std::string(kind), std::to_string(pid),
                                 what.empty() ? std::nullopt : SqlValue(what),
                                 since_text == nullptr ? std::nullopt : SqlValue(since_text)};
    if (slot == nullptr) {
        row.insert(row.end(), 3, std::nullopt);
    } else {
        row.emplace_back(std::to_string(slot->task.load()));
        row.emplace_back(std::to_string(slot->task_bytes.load()));
        row.emplace_back(std::to_string(slot->task_rows.load()));
    }
    return row;
}

Datum
LiveWorkers(FunctionCallInfo fcinfo) {
    const std::optional<int> id = IntArgument(fcinfo, 0);
    std::vector<std::vector<SqlValue>> rows;
    const pg::SqlResult migration =
        pg::Query("SELECT dsm_handle, message FROM livemigrate.migration WHERE id = $1::int",
                  {std::to_string(id.value_or(0))});
    if (!migration.rows.empty()) {
        const SqlRow &row = migration.rows[0];
        if (const auto segment = AttachTo(pg::Number<uint32_t>(row, 0), id.value_or(0))) {
            const SharedState &state = segment->state();
            rows.push_back(WorkerRow("coordinator", state.coordinator_pid.load(), pg::Text(row, 1),
                                     0, nullptr));
            for (const WorkerSlot &slot : state.workers) {
                if (slot.pid.load() != 0) {
                    rows.push_back(
                        WorkerRow(WorkerKindName(static_cast<WorkerKind>(slot.kind.load())),
                                  slot.pid.load(), slot.what, slot.since.load(), &slot));
                }
            }
        }
    }
    return ReturnRows(fcinfo, rows);
}

Datum
Progress(FunctionCallInfo fcinfo) {
    const uint64_t progress = OriginProgress(TextArgument(fcinfo, 0).value_or(""), 1);
    if (progress == 0) {
        fcinfo->isnull = true;
        return 0;
    }
    return LSNGetDatum(progress);
}

// NULL when there is no spool.
SqlValue
FreeOfSpool(int32_t id) {
    const std::string path = control::WorkDirectory(MyDatabaseId, id).spool();
    struct statvfs status;
    return ::statvfs(path.c_str(), &status) == 0
               ? SqlValue(std::to_string(uint64_t{status.f_bavail} * status.f_frsize))
               : std::nullopt;
}

Datum
LiveRates(FunctionCallInfo fcinfo) {
    const int id = IntArgument(fcinfo, 0).value_or(0);
    const pg::SqlValue handle =
        pg::Query("SELECT dsm_handle FROM livemigrate.migration WHERE id = $1::int",
                  {std::to_string(id)})
            .Scalar();
    const auto segment = handle ? AttachTo(pg::Number<uint32_t>({handle}, 0), id) : std::nullopt;
    if (!segment) {
        std::vector<SqlValue> row(8);
        row.push_back(FreeOfSpool(id));
        return ReturnRow(fcinfo, row);
    }
    const SharedState &state = segment->state();
    const int64_t safe = state.slot_safe_bytes.load();
    const bool polled = state.slot_retained_bytes.load() != 0;
    return ReturnRow(
        fcinfo, {std::to_string(state.coordinator_pid.load()),
                 std::to_string(state.apply_bytes_per_second.load()),
                 std::to_string(state.source_bytes_per_second.load()),
                 polled ? SqlValue(std::to_string(state.slot_retained_bytes.load())) : std::nullopt,
                 polled && safe >= 0 ? SqlValue(std::to_string(safe)) : std::nullopt,
                 polled ? SqlValue(std::to_string(state.slot_xmin_age.load())) : std::nullopt,
                 std::to_string(state.changes_in_source_order.load()),
                 std::to_string(state.worker_failures.load()), FreeOfSpool(id)});
}

} // namespace

} // namespace livemigrate::api

LIVEMIGRATE_FUNCTION(livemigrate_live_workers, LiveWorkers)
LIVEMIGRATE_FUNCTION(livemigrate_live_rates, LiveRates)
LIVEMIGRATE_FUNCTION(livemigrate_origin_progress, Progress)
