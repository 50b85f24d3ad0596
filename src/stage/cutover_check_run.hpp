// What the checks at cutover share. Only for cutover_check*.cpp.
#pragma once

#include "pg/spi.hpp"
#include "stage/cutover_check.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace livemigrate::stage {

// A query about w(oid, name), the tables whose schemas and names $1 and $2 are.
std::string WithTables(const char *query);

class CutoverCheckRun {
  public:
    explicit CutoverCheckRun(const CutoverCheckSettings &given);

    void Add(const char *check_id, const char *severity, const std::string &object,
             const std::string &message, const std::string &fix = "");
    // An "ok" row, unless the check has a row already.
    void Close(const char *check_id, const std::string &message);

    // The same query about the migration's tables ($1: schemas, $2: names) on either side. None
    // that could wait for the lock of a table.
    pg::SqlResult AskTarget(const std::string &sql) const;
    pg::SqlResult AskSource(const std::string &sql);

    // A statement that reads tables, on the target, within what is left of the limit. Nothing when
    // the limit is over; `object` is then named as not checked.
    std::optional<pg::SqlResult> Measure(const char *check_id, const std::string &object,
                                         const std::string &sql);
    // The same statement on the source; nothing when it fails there, or takes longer than the
    // limit.
    std::optional<pg::SqlResult> MeasureSource(const std::string &sql);

    // Lets the source's next statements take no longer than what is left of the limit.
    void LimitSource();

    // Nothing: without limit.
    std::optional<std::chrono::milliseconds> Left() const;

    const CutoverCheckSettings &settings;
    source::Connection source;
    std::vector<CheckRow> rows;

  private:
    std::vector<pg::SqlValue> tables_;
    std::chrono::steady_clock::time_point start_;
};

// cutover_check_keys.cpp: constraints that are not enforced while changes are applied.
void CheckForeignKeys(CutoverCheckRun &run);
void CheckDeferrableKeys(CutoverCheckRun &run);
// cutover_check_objects.cpp.
void CheckIndexes(CutoverCheckRun &run);
void CheckConstraints(CutoverCheckRun &run);
void CheckTriggers(CutoverCheckRun &run);
void CheckSequences(CutoverCheckRun &run);
void CheckReadOnly(CutoverCheckRun &run);
void CheckLargeObjects(CutoverCheckRun &run);
// cutover_check_contents.cpp: what the stage cutover does, and how long it will take.
void CheckDowntime(CutoverCheckRun &run);
void CheckMaterializedViews(CutoverCheckRun &run);
void CheckStatistics(CutoverCheckRun &run);
void CheckScheduledJobs(CutoverCheckRun &run);

} // namespace livemigrate::stage
