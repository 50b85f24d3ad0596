// The part of the catalog that holds schema jobs: statements of the dump's post-data section.

#include "control/catalog.hpp"

#include "control/advisory_lock.hpp"
#include "control/catalog_columns.hpp"
#include "core/sql_text.hpp"
#include "pg/guc.hpp"
#include "pg/sql_row.hpp"

#include <algorithm>
#include <map>

namespace livemigrate::control {

namespace {

using pg::Number;
using pg::Query;
using pg::SqlResult;
using pg::SqlValue;
using pg::Text;
using Row = pg::SqlRow;

// As a constant in SQL, so that partial indexes on the phase serve.
constexpr const char *kIndexPhase = "1";
static_assert(static_cast<int>(JobPhase::kIndexes) == 1);

// Phases of jobs put off until apply has passed every table's snapshot: behind all others but
// event triggers.
constexpr int kDeferredPhases = 10;

// Which tables a statement is about, and its parameters: some, or all that are complete. The ids
// are a parameter, so that the statement's plan serves for all.
struct OfTables {
    std::string condition;
    std::vector<SqlValue> parameters;
};

OfTables
SomeOrAllComplete(int32_t id, const std::optional<std::set<int32_t>> &tables) {
    if (tables) {
        return {"= " + AnyOf("$2"), {std::to_string(id), IntArrayLiteral(*tables)}};
    }
    return {"IN (SELECT t.id FROM livemigrate.table_copy t WHERE t.migration = $1::int "
            "AND t.state IN ('done', 'skipped'))",
            {std::to_string(id)}};
}

// ANALYZE of tables that are complete and have all of their indexes and statistics objects.
void
ReleaseAnalyze(int32_t id, const std::optional<std::set<int32_t>> &complete) {
    const OfTables tables = SomeOrAllComplete(id, complete);
    Query(
        "UPDATE livemigrate.schema_job j SET ready = true WHERE migration = $1::int AND phase = " +
            std::string(kIndexPhase) + " AND kind = 'analyze' AND NOT ready AND table_id " +
            tables.condition +
            " AND NOT EXISTS (SELECT FROM livemigrate.schema_job o WHERE "
            "o.migration = j.migration AND o.table_id = j.table_id AND o.phase = " +
            kIndexPhase + " AND o.kind <> 'analyze' AND o.state IN ('pending', 'running'))",
        tables.parameters);
}

// Statements of these phases may build on one another: one at a time, in the order of the dump.
bool
IsSerialPhase(int phase) {
    constexpr int kDeferredForeignKeys = static_cast<int>(JobPhase::kForeignKeys) + kDeferredPhases;
    return phase == static_cast<int>(JobPhase::kConstraints) ||
           phase == static_cast<int>(JobPhase::kForeignKeys) || phase == kDeferredForeignKeys ||
           phase == static_cast<int>(JobPhase::kLast);
}

// VALIDATE CONSTRAINT locks the referencing table against another one: a second worker would wait
// for the first instead of validating a constraint of another table.
bool
IsOneByTable(int phase) {
    constexpr int kValidation = static_cast<int>(JobPhase::kValidation);
    return phase == kValidation || phase == kValidation + kDeferredPhases;
}

// Statements on tables below this size are claimed and committed many at a time: with ten thousand
// tables, claiming would take longer than the statements.
constexpr uint64_t kSmallTable = 1 << 20;
constexpr size_t kMostGathered = 64;
constexpr int kCandidates = 256;

// A job that could be claimed.
struct Candidate {
    int32_t id;
    std::optional<int32_t> table_id;
    bool is_small;
};

std::vector<Candidate>
NextJobs(const std::string &migration, const std::string &phase, bool in_order) {
    const SqlResult result =
        Query(std::string("SELECT id, table_id, attempts = 0 AND bytes < ") +
                  std::to_string(kSmallTable) +
                  " AND kind <> 'other' FROM livemigrate.schema_job WHERE migration = $1::int "
                  "AND phase = $2::int AND " +
                  (in_order ? "state IN ('pending', 'running') AND state = 'pending' "
                              "AND error IS NULL ORDER BY id LIMIT "
                            : "state = 'pending' AND ready AND error IS NULL "
                              "ORDER BY attempts, bytes DESC, id LIMIT ") +
                  std::to_string(kCandidates),
              {migration, phase});
    std::vector<Candidate> candidates;
    for (const Row &row : result.rows) {
        candidates.push_back({Number<int32_t>(row, 0),
                              row[1] ? std::optional(Number<int32_t>(row, 1)) : std::nullopt,
                              pg::Flag(row, 2)});
    }
    return candidates;
}

// Leaves out the jobs of tables that another worker's jobs of the phase are on.
void
LeaveBusyTables(const std::string &migration, const std::string &phase,
                std::vector<Candidate> &candidates) {
    std::set<int32_t> ids;
    for (const Candidate &candidate : candidates) {
        ids.insert(candidate.id);
    }
    // `IN` is what the partial index schema_job_unfinished is made for.
    const SqlResult result =
        Query("WITH busy AS MATERIALIZED (SELECT schema_name, table_name "
              "FROM livemigrate.schema_job WHERE migration = $1::int AND phase = $2::int "
              "AND state IN ('pending', 'running') AND state = 'running') "
              "SELECT j.id FROM livemigrate.schema_job j JOIN busy USING (schema_name, table_name) "
              "WHERE j.migration = $1::int AND j.id = " +
                  AnyOf("$3"),
              {migration, phase, IntArrayLiteral(ids)});
    std::set<int32_t> busy;
    for (const Row &row : result.rows) {
        busy.insert(Number<int32_t>(row, 0));
    }
    std::erase_if(candidates, [&](const Candidate &one) { return busy.contains(one.id); });
}

// The first job; with it those behind it, while all are small and none has ended a worker, but so
// that the other workers get their share, too.
std::set<int32_t>
JobsToGather(const std::vector<Candidate> &candidates, bool in_order, int workers) {
    const size_t fair =
        in_order ? candidates.size() : candidates.size() / (2 * static_cast<size_t>(workers));
    const size_t share = std::min(kMostGathered, fair);
    std::set<int32_t> ids = {candidates.at(0).id};
    for (size_t i = 1; i < share && candidates.at(i - 1).is_small && candidates.at(i).is_small;
         i++) {
        ids.insert(candidates.at(i).id);
    }
    return ids;
}

// The other jobs of these tables, so that no two workers wait for each other's locks; and the
// tables' ANALYZE, where all that must come before it is among them.
void
AddJobsOfTables(const std::string &migration, const std::vector<Candidate> &candidates,
                std::set<int32_t> &ids) {
    std::set<int32_t> tables;
    for (const Candidate &candidate : candidates) {
        if (candidate.table_id && ids.contains(candidate.id)) {
            tables.insert(*candidate.table_id);
        }
    }
    const SqlResult others =
        Query("SELECT id, table_id, kind = 'analyze', state = 'pending' AND error IS NULL "
              "AND attempts = 0 AND (ready OR kind = 'analyze') FROM livemigrate.schema_job "
              "WHERE migration = $1::int AND phase = " +
                  std::string(kIndexPhase) + " AND table_id = " + AnyOf("$2") +
                  " AND state IN ('pending', 'running')",
              {migration, IntArrayLiteral(tables)});
    for (const Row &row : others.rows) {
        if (!pg::Flag(row, 3)) {
            tables.erase(Number<int32_t>(row, 1)); // not all: its ANALYZE is for later
        }
    }
    for (const Row &row : others.rows) {
        if (pg::Flag(row, 3) && (!pg::Flag(row, 2) || tables.contains(Number<int32_t>(row, 1)))) {
            ids.insert(Number<int32_t>(row, 0));
        }
    }
}

// In the order in which to run them.
std::vector<SchemaJob>
MarkRunning(const std::string &migration, int worker, const std::set<int32_t> &ids) {
    const SqlResult result =
        Query("UPDATE livemigrate.schema_job SET state = 'running', worker = $3::int, "
              "attempts = attempts + 1, started_at = pg_catalog.clock_timestamp() "
              "WHERE migration = $1::int AND id = " +
                  AnyOf("$2") +
                  " RETURNING "
                  "id, phase, kind, schema_name, table_name, object_name, sql, bytes, table_id",
              {migration, IntArrayLiteral(ids), std::to_string(worker)});
    std::vector<SchemaJob> jobs;
    for (const Row &row : result.rows) {
        SchemaJob job;
        job.migration = std::stoi(migration);
        job.id = Number<int32_t>(row, 0);
        job.phase = Number<int32_t>(row, 1);
        job.kind = Text(row, 2);
        job.schema = Text(row, 3);
        job.table = Text(row, 4);
        job.object = Text(row, 5);
        job.sql = Text(row, 6);
        job.bytes = Number<uint64_t>(row, 7);
        if (row[8]) {
            job.table_id = Number<int32_t>(row, 8);
        }
        jobs.push_back(std::move(job));
    }
    std::sort(jobs.begin(), jobs.end(),
              [](const SchemaJob &a, const SchemaJob &b) { return a.id < b.id; });
    return jobs;
}

} // namespace

void
ReleaseJobsOfTables(int32_t id, const std::optional<std::set<int32_t>> &complete) {
    const OfTables tables = SomeOrAllComplete(id, complete);
    Query("UPDATE livemigrate.schema_job SET ready = true WHERE migration = $1::int AND phase = " +
              std::string(kIndexPhase) + " AND kind <> 'analyze' AND NOT ready AND table_id " +
              tables.condition,
          tables.parameters);
    ReleaseAnalyze(id, complete);
}

void
InsertJobs(int32_t id, const std::vector<SchemaJob> &jobs) {
    Columns columns(9);
    for (const SchemaJob &job : jobs) {
        columns.Add(0, std::to_string(job.id));
        columns.Add(1, std::to_string(job.phase));
        columns.Add(2, job.kind);
        columns.Add(3, job.schema);
        columns.Add(4, job.table);
        columns.Add(5, job.object);
        columns.Add(6, job.sql);
        columns.Add(7, job.table_id ? std::to_string(*job.table_id) : "");
        columns.Add(8, std::to_string(job.attempts));
    }
    Query("INSERT INTO livemigrate.schema_job (migration, id, phase, kind, schema_name, "
          "table_name, object_name, sql, bytes, table_id, ready, attempts) SELECT $1::int, a::int, "
          "b::int, "
          "c, NULLIF(d, ''), NULLIF(e, ''), NULLIF(f, ''), g, "
          "COALESCE(NULLIF(t.bytes, 0), r.bytes, 0), NULLIF(h, '')::int, b::int <> " +
              std::string(kIndexPhase) +
              ", i::int FROM ROWS FROM ("
              "pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]), "
              "pg_catalog.unnest($4::text[]), pg_catalog.unnest($5::text[]), "
              "pg_catalog.unnest($6::text[]), pg_catalog.unnest($7::text[]), "
              "pg_catalog.unnest($8::text[]), pg_catalog.unnest($9::text[]), "
              "pg_catalog.unnest($10::text[])) AS j(a, b, c, d, e, f, g, h, i) LEFT JOIN "
              "livemigrate.table_copy t "
              "ON t.migration = $1::int AND t.schema_name = d AND t.table_name = e "
              // The partitions whose rows are in the root.
              "LEFT JOIN (SELECT p.root_schema, p.root_name, "
              "pg_catalog.sum(l.bytes)::bigint AS bytes FROM livemigrate.table_partition p "
              "JOIN livemigrate.table_copy l ON l.migration = p.migration AND l.id = p.table_id "
              "WHERE p.migration = $1::int AND p.through_root GROUP BY 1, 2) r "
              "ON r.root_schema = d AND r.root_name = e",
          columns.Parameters(id));
    // Thousands of new rows: without figures the planner may read all of them at each claim.
    Query("ANALYZE livemigrate.schema_job");
    ReleaseJobsOfTables(id, std::nullopt);
}

void
ReleaseJobs(int32_t id, bool defer_foreign_keys) {
    Query("UPDATE livemigrate.schema_job SET phase = " +
              std::to_string(static_cast<int>(JobPhase::kAnalyze)) +
              " WHERE migration = $1::int AND phase = " + kIndexPhase +
              " AND kind = 'analyze' AND NOT ready AND state = 'pending'",
          {std::to_string(id)});
    Query("UPDATE livemigrate.schema_job SET ready = true WHERE migration = $1::int AND NOT ready",
          {std::to_string(id)});
    if (defer_foreign_keys) {
        Query("UPDATE livemigrate.schema_job SET phase = phase + $2::int "
              "WHERE migration = $1::int AND state = 'pending' AND phase IN ($3::int, $4::int)",
              {std::to_string(id), std::to_string(kDeferredPhases),
               std::to_string(static_cast<int>(JobPhase::kForeignKeys)),
               std::to_string(static_cast<int>(JobPhase::kValidation))});
    }
}

int64_t
CountReadyJobs(int32_t id, int most) {
    return Number<int64_t>(Query("SELECT pg_catalog.count(*) FROM (SELECT FROM "
                                 "livemigrate.schema_job WHERE migration = $1::int "
                                 "AND state = 'pending' AND ready AND error IS NULL AND phase = " +
                                     std::string(kIndexPhase) + " LIMIT $2::int) AS j",
                                 {std::to_string(id), std::to_string(most)})
                               .rows.at(0),
                           0);
}

void
FailJob(const SchemaJob &job, const Error &error) {
    Query("UPDATE livemigrate.schema_job SET error = $3, state = 'pending', worker = NULL, "
          "attempts = attempts - 1 WHERE migration = $1::int AND id = $2::int",
          {std::to_string(job.migration), std::to_string(job.id), error.message()});
}

std::vector<SchemaJob>
ClaimJobs(int32_t id, int worker, int workers, int last_phase) {
    // One claim at a time: two workers must not both find that nothing is running.
    AcquireForTransaction(id, LockClass::kClaims, LockStrength::kExclusive);
    const std::string migration = std::to_string(id);
    const SqlValue phase = Query("SELECT pg_catalog.min(phase) FROM livemigrate.schema_job "
                                 "WHERE migration = $1::int AND state IN ('pending', 'running')",
                                 {migration})
                               .Scalar();
    // A phase begins when no job of an earlier one is left.
    if (!phase || std::stoi(*phase) > last_phase) {
        return {};
    }
    const bool in_order = IsSerialPhase(std::stoi(*phase));
    if (in_order && !Query("SELECT FROM livemigrate.schema_job WHERE migration = $1::int "
                           "AND phase = $2::int AND state IN ('pending', 'running') "
                           "AND state = 'running' LIMIT 1",
                           {migration, phase})
                         .rows.empty()) {
        return {};
    }
    std::vector<Candidate> candidates = NextJobs(migration, *phase, in_order);
    if (IsOneByTable(std::stoi(*phase))) {
        LeaveBusyTables(migration, *phase, candidates);
    }
    if (candidates.empty()) {
        return {};
    }
    std::set<int32_t> ids = JobsToGather(candidates, in_order, workers);
    if (*phase == kIndexPhase && ids.size() > 1) {
        AddJobsOfTables(migration, candidates, ids);
    }
    return MarkRunning(migration, worker, ids);
}

void
ForgetJobErrors(int32_t id) {
    Query("UPDATE livemigrate.schema_job SET error = NULL WHERE migration = $1::int "
          "AND state = 'pending' AND error IS NOT NULL AND attempts < $2::int",
          {std::to_string(id), std::to_string(pg::CopyAttempts())});
}

void
SkipJob(const SchemaJob &job, const std::string &note) {
    Query("UPDATE livemigrate.schema_job SET state = 'skipped', error = NULLIF($3, ''), "
          "finished_at = pg_catalog.clock_timestamp() WHERE migration = $1::int AND id = $2::int",
          {std::to_string(job.migration), std::to_string(job.id), note});
}

void
FinishJobs(const std::vector<FinishedJob> &finished) {
    Columns columns(3);
    std::set<int32_t> tables;
    std::set<int32_t> analyzed;
    for (const FinishedJob &one : finished) {
        columns.Add(0, std::to_string(one.job->id));
        columns.Add(1, std::to_string(one.started));
        columns.Add(2, std::to_string(one.finished));
        if (one.job->table_id && one.job->phase == static_cast<int>(JobPhase::kIndexes)) {
            (one.job->kind == "analyze" ? analyzed : tables).insert(*one.job->table_id);
        }
    }
    const int32_t migration = finished.at(0).job->migration;
    Query("UPDATE livemigrate.schema_job j SET state = 'done', error = NULL, "
          "sql = CASE WHEN j.kind = 'subscription' THEN '' ELSE j.sql END, " // its password
          "started_at = '2000-01-01 00:00:00+00'::timestamptz + "
          "f.started::float8 * '1 microsecond'::interval, "
          "finished_at = '2000-01-01 00:00:00+00'::timestamptz + "
          "f.finished::float8 * '1 microsecond'::interval "
          "FROM ROWS FROM (pg_catalog.unnest($2::text[]::int[]), "
          "pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::text[])) "
          "AS f(id, started, finished) WHERE j.migration = $1::int AND j.id = f.id",
          columns.Parameters(migration));
    for (const int32_t table : analyzed) {
        tables.erase(table);
    }
    if (!tables.empty()) {
        // One at a time, so that the last of a table's jobs sees that all others are done.
        AcquireForTransaction(migration, LockClass::kClaims, LockStrength::kExclusive);
        ReleaseAnalyze(migration, tables);
    }
}

int64_t
CountUnfinishedJobs(int32_t id, int last_phase) {
    return Number<int64_t>(
        Query("SELECT pg_catalog.count(*) FROM livemigrate.schema_job WHERE migration = $1::int "
              "AND state IN ('pending', 'running') AND phase <= $2::int",
              {std::to_string(id), std::to_string(last_phase)})
            .rows.at(0),
        0);
}

bool
HasJobs(int32_t id) {
    return !Query("SELECT FROM livemigrate.schema_job WHERE migration = $1::int LIMIT 1",
                  {std::to_string(id)})
                .rows.empty();
}

std::vector<SchemaJob>
PlanRefreshes(int32_t id, const std::vector<std::pair<std::string, std::string>> &views) {
    const std::string phase = std::to_string(static_cast<int>(JobPhase::kRefresh));
    // One that is still running was left for another reason.
    std::map<std::pair<std::string, std::string>, int32_t> attempts;
    for (const Row &row :
         Query("SELECT schema_name, table_name, CASE WHEN state = 'running' THEN attempts - 1 "
               "WHEN state <> 'done' THEN attempts ELSE 0 END FROM livemigrate.schema_job "
               "WHERE migration = $1::int AND phase = $2::int",
               {std::to_string(id), phase})
             .rows) {
        attempts[{Text(row, 0), Text(row, 1)}] = Number<int32_t>(row, 2);
    }
    Query("DELETE FROM livemigrate.schema_job WHERE migration = $1::int AND phase = $2::int",
          {std::to_string(id), phase});
    auto next = Number<int32_t>(Query("SELECT COALESCE(pg_catalog.max(id), 0) FROM "
                                      "livemigrate.schema_job WHERE migration = $1::int",
                                      {std::to_string(id)})
                                    .rows.at(0),
                                0);
    std::vector<SchemaJob> jobs;
    for (const auto &[schema, view] : views) {
        SchemaJob job;
        job.migration = id;
        job.id = ++next;
        job.phase = static_cast<int>(JobPhase::kRefresh);
        job.kind = "materialized view";
        job.schema = schema;
        job.table = view;
        job.sql = "REFRESH MATERIALIZED VIEW " + QualifiedName(schema, view);
        job.attempts = attempts[{schema, view}];
        jobs.push_back(std::move(job));
    }
    if (!jobs.empty()) {
        InsertJobs(id, jobs);
    }
    return jobs;
}

void
BeginJob(const SchemaJob &job) {
    Query("UPDATE livemigrate.schema_job SET state = 'running', attempts = attempts + 1, "
          "started_at = pg_catalog.clock_timestamp() WHERE migration = $1::int AND id = $2::int",
          {std::to_string(job.migration), std::to_string(job.id)});
}

JobFigures
SumJobs(int32_t id) {
    const Row row = Query("SELECT pg_catalog.count(*), "
                          "pg_catalog.count(*) FILTER (WHERE state IN ('done', 'skipped')) "
                          "FROM livemigrate.schema_job WHERE migration = $1::int AND phase < " +
                              std::to_string(static_cast<int>(JobPhase::kLast)),
                          {std::to_string(id)})
                        .rows.at(0);
    return {Number<uint64_t>(row, 0), Number<uint64_t>(row, 1)};
}

BuildWork
SumBuilds(int32_t id) {
    const SqlResult builds =
        Query("SELECT state, pg_catalog.sum(bytes), pg_catalog.max(bytes), pg_catalog.sum("
              "EXTRACT(epoch FROM COALESCE(finished_at, pg_catalog.clock_timestamp()) "
              "- started_at)) FROM livemigrate.schema_job WHERE migration = $1::int AND bytes > 0 "
              "AND (phase = " +
                  std::string(kIndexPhase) +
                  " AND kind IN ('index', 'constraint') OR kind = 'validation') "
                  "AND state <> 'skipped' "
                  "GROUP BY state, CASE WHEN state = 'running' THEN id END",
              {std::to_string(id)});
    BuildWork work;
    for (const Row &row : builds.rows) {
        const std::string state = Text(row, 0);
        const auto bytes = Number<uint64_t>(row, 1);
        const auto seconds = Number<double>(row, 3);
        if (state == "done") {
            work.bytes_done = bytes;
            work.seconds_done = seconds;
        } else if (state == "running") {
            work.running.push_back({bytes, seconds});
        } else {
            work.bytes_waiting = bytes;
            work.largest_waiting = Number<uint64_t>(row, 2);
        }
    }
    return work;
}

} // namespace livemigrate::control
