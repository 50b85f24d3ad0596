// migration_estimate.

#include "pg/prelude.hpp"

#include "api/arguments.hpp"
#include "api/sql_function.hpp"
#include "pg/sql_row.hpp"
#include "source/connection.hpp"
#include "stage/estimate.hpp"

namespace livemigrate::api {

namespace {

constexpr int kMostJobs = 32;
constexpr int kLongestSample = 60;

int
RequiredInt(FunctionCallInfo fcinfo, int index, const char *name, int least, int most) {
    const std::optional<int> value = IntArgument(fcinfo, index);
    if (!value) {
        throw Error("22004", std::string("argument \"") + name + "\" must not be null");
    }
    if (*value < least || *value > most) {
        throw Error(sqlstate::kInvalidParameterValue, std::string(name) + " must be between " +
                                                          std::to_string(least) + " and " +
                                                          std::to_string(most));
    }
    return *value;
}

Datum
MigrationEstimate(FunctionCallInfo fcinfo) {
    MigrationSettings settings;
    settings.source = RequiredText(fcinfo, 0, "source");
    source::CheckConninfo(settings.source);
    settings.table_jobs = RequiredInt(fcinfo, 1, "table_jobs", 1, kMostJobs);
    settings.index_jobs = RequiredInt(fcinfo, 2, "index_jobs", 1, kMostJobs);
    settings.include_tables = TextArrayArgument(fcinfo, 3);
    settings.exclude_tables = TextArrayArgument(fcinfo, 4).value_or(std::vector<std::string>());
    settings.exclude_table_data = TextArrayArgument(fcinfo, 5).value_or(std::vector<std::string>());
    const std::chrono::seconds sample(RequiredInt(fcinfo, 6, "sample_seconds", 0, kLongestSample));
    std::vector<std::vector<pg::SqlValue>> rows;
    for (const EstimateRow &row : Estimate(stage::MeasureForEstimate(settings, sample))) {
        rows.push_back({row.item, row.estimate, std::to_string(row.value), row.unit, row.basis});
    }
    return ReturnRows(fcinfo, rows);
}

} // namespace

} // namespace livemigrate::api

LIVEMIGRATE_FUNCTION(livemigrate_migration_estimate, MigrationEstimate)
