// The state of migrations: rows of the tables in schema livemigrate. Every function needs an open
// transaction; the caller commits. Nothing else writes these tables.
#pragma once

#include "core/column_changes.hpp"
#include "core/copy_task.hpp"
#include "core/error.hpp"
#include "core/estimate.hpp"
#include "core/lsn.hpp"
#include "core/migration_settings.hpp"
#include "core/migration_state.hpp"
#include "core/output_plugin.hpp"
#include "core/rearranged_tables.hpp"
#include "pg/spi.hpp"
#include "source/partitions.hpp"

#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace livemigrate::control {

struct Migration {
    int32_t id = 0;
    uint32_t owner = 0;
    MigrationSettings settings;
    Stage stage = Stage::kPreflight;
    bool stage_ended = false;
    State state = State::kRunning;
    bool pause_requested = false;
    int attempts = 0;
    bool cleaned_up = false;

    std::optional<Plugin> plugin;
    bool wal2json_numeric_option = false;
    std::string source_system_identifier;
    uint32_t source_timeline = 0;     // on which it was last
    Lsn source_timeline_began;        // invalid: not known, or the first
    std::string source_recovery_mark; // source::kRecoveryMark, before the slot was made
    int source_version = 0;
    std::string source_encoding;
    std::string source_database;
    std::string slot_name;
    bool slot_created = false; // it is to be, or was, made by the migration
    // Its creation was sent to the source: what bears its name there is the migration's.
    bool slot_sent = false;
    std::vector<std::string> publications;
    bool publications_created = false;
    bool publications_sent = false;
    std::string publications_as_of; // stage::PublicationState::newest
    std::string origin_name;
    Lsn snapshot_lsn;
    std::string snapshot_name;
    Lsn endpos;
    std::string spool_token;
    bool schema_restored = false; // the dump's pre-data section is in the target
    uint32_t dsm_handle = 0;
};

// NULL-safe text of an options document is parsed by the server: see ParseOptions in api/.
int32_t InsertMigration(const MigrationSettings &settings, const std::string &options_json);

// `lock` takes the row FOR UPDATE.
std::optional<Migration> LoadMigration(int32_t id, bool lock = false);

// The migration a call means: the one of that name (the newest), or for nullopt the only one that
// has not ended. `ended_too`: without one, the newest that is not cleaned up, then the newest.
// Throws Error 42704 when there is none and 22023, naming the choices, when there are several.
int32_t ResolveMigration(const std::optional<std::string> &name, bool ended_too);

// The one place where the state changes. Throws Error 55000 when the state machine forbids it.
void TransitionTo(Migration &migration, State state);

// The current stage's work is complete: go on to the next one, or pause behind it.
void EnterStage(Migration &migration, Stage stage);
void MarkStageEnded(Migration &migration);

// `hint` as it is to be shown for a migration: where its calls, without a name, would not mean this
// one, they get it. SetMessage and RecordError do that themselves.
std::string NamedHint(int32_t id, const std::string &hint);

void SetMessage(int32_t id, const std::string &message, const std::string &hint = "");
void RecordError(int32_t id, const Error &error, int attempts,
                 std::optional<int64_t> retry_in_milliseconds);
void ClearError(int32_t id);
void RequestPause(int32_t id);
void ClearPauseRequest(int32_t id);
void SetPauseAfter(int32_t id, const std::vector<Stage> &stages);
void SetDsmHandle(int32_t id, std::optional<uint32_t> handle);
void CountCoordinatorStart(int32_t id);
void SetEndpos(int32_t id, Lsn endpos);
void SetSlotPlan(const Migration &migration); // slot, publications, origin: names and flags
void SetPublicationsAsOf(int32_t id, const std::string &xid);
void SetSourceIdentity(const Migration &migration);
// Whether the slot's name is in the migration's row already.
bool HasSlotPlan(int32_t id);
void SetSourceTimeline(int32_t id, uint32_t timeline, Lsn began);
void SetSnapshot(int32_t id, Lsn lsn, const std::string &snapshot_name);
void MarkSchemaRestored(int32_t id);
void SetSpoolToken(int32_t id, const std::string &token);
void MarkCleanedUp(int32_t id);

// Counters as the status shows them when nothing runs.
struct KeptCounters {
    uint64_t source_lsn = 0;
    uint64_t received_lsn = 0;
    uint64_t flushed_lsn = 0;
    uint64_t transactions_applied = 0;
    uint64_t changes_applied = 0;
    uint64_t changes_skipped = 0;
};
KeptCounters LoadCounters(int32_t id);
void KeepCounters(int32_t id, const KeptCounters &counters);

// The source's columns of tables whose rows are copied from now on, or of one; in place of what was
// known of them. By the source's OID.
void SetColumnsToCopy(int32_t id, const std::map<uint32_t, std::vector<SourceColumn>> &columns);
void SetColumnsOf(int32_t id, int32_t table, const std::vector<SourceColumn> &columns);
// By CopyTable::id.
std::map<int32_t, std::vector<SourceColumn>> LoadColumns(int32_t id);

// The source's partitions among the migration's tables, by the source's OID.
void InsertPartitions(int32_t id, const std::map<uint32_t, source::SourcePartition> &partitions);
// Of those written directly the ones, by the source's OID, whose bounds the target's partition has
// no longer, as far as is known.
std::set<uint32_t> PartitionsToAskFor(int32_t id);
// What the source says of such now.
void SetBounds(int32_t id, const std::map<uint32_t, source::SourcePartition> &partitions);
// Decides by the target's partitions, as they are now, whose rows go through the root, for tables
// from `first_table` on. Returns of how many that is another decision than the last one.
uint64_t RoutePartitions(int32_t id, int32_t first_table = 0);
// Whether the copy is planned.
bool HasParts(int32_t id);
struct RoutedPartition {
    bool key_suffices = true; // its replica identity tells its rows from all others of the root
    std::string left_out;     // a partition beside it whose rows are not the migration's
};
// By CopyTable::id: those that go through it.
std::map<int32_t, RoutedPartition> RoutedPartitions(int32_t id);
// The source's OID of those that go through it and have not been asked for their condition.
std::map<int32_t, uint32_t> PartitionsWithoutCondition(int32_t id);
void SetPartitionConditions(int32_t id, const std::map<int32_t, std::string> &conditions);
// Partitions of the source, by OID, of which it could not be told whether rows are missing, and
// with which the migration was resumed; what was recorded so far is from then on. See
// UnclearPartition().
std::set<uint32_t> AcceptedPartitions(int32_t id);
void AcceptPartitions(int32_t id);
// How partitioned tables of which rows go through the root differ from the source's.
RearrangedTables LoadRearranged(int32_t id);

// And tells listeners. When the disk has no room for it, the event is in the server's log only: it
// must not be what keeps a migration from saying, in its row, that the disk is full.
void RecordEvent(int32_t id, const char *severity, Stage stage, const std::string &message,
                 const std::string &detail = "");

// Source transactions that apply passes over on request, by commit_lsn.
std::set<Lsn> LoadSkippedTransactions(int32_t id);
void InsertSkippedTransaction(int32_t id, Lsn commit_lsn);
// In the transaction that takes the origin beyond it.
void RecordSkippedTransaction(int32_t id, Lsn commit_lsn, uint64_t changes);
// What the checks of a stage found, preflight or cutover, replacing what was kept of it: check_id,
// severity, object, message, fix.
void KeepChecks(int32_t id, Stage stage, const std::vector<std::vector<std::string>> &rows);
// What compare_data found, the latest of each table: relation, rows on the source and on the
// target, checksums of both, equal, differing keys, detail, position.
void KeepComparisons(int32_t id, const std::vector<std::vector<std::string>> &rows);
// What compare_schema found, the latest: object, source, target.
void KeepSchemaComparison(int32_t id, const std::vector<std::vector<std::string>> &rows);

// Tables and parts.
void InsertTables(int32_t id, const std::vector<CopyTable> &tables);
std::vector<CopyTable> LoadTables(int32_t id);
void InsertParts(int32_t id, const std::vector<CopyTask> &tasks);
// For a new snapshot: tables that are not complete are to be planned again, ranges of large objects
// stay as they are, those that are not copied to be claimed.
void ResetUnfinishedParts(int32_t id);
// Unlogged tables that were copied and have no rows on the target: a crash of it empties them.
std::vector<CopyTable> EmptiedUnloggedTables(int32_t id);
// Makes a complete table an unfinished one, before ResetUnfinishedParts.
void CopyAgain(int32_t id, int32_t table);
// Of all tables that are not done: the snapshot, and the files that it sees, by their OIDs.
void SetTablesSnapshot(int32_t id, Lsn lsn);
void SetFilenodes(int32_t id, const std::map<uint32_t, uint32_t> &files);
Lsn LatestSnapshot(int32_t id); // of its tables; invalid if none has one

// Claims the next pending part for one of `workers` workers, or several of small tables, which are
// to be copied in one transaction; none when there is none.
std::vector<CopyTask> ClaimParts(int32_t id, int worker, int workers);
// What became of one of them; times are TimestampTz.
struct FinishedPart {
    const CopyTask *task;
    uint64_t rows;
    uint64_t bytes;
    int64_t started;
    int64_t finished;
};
// The last part of a table also releases the jobs that wait for the table. Returns how many tables
// are complete by that.
uint64_t FinishParts(const std::vector<FinishedPart> &finished);
// An attempt at the part has failed, which the events tell. With a transient error it is claimed
// again after a while, unless livemigrate.copy_attempts are used up; otherwise not before
// ForgetPartErrors, so that the other tables are completed first.
void KeepPartError(const CopyTask &task, const Error &error);
// Parts that wait for their next attempt wait no longer.
void TryPartsNow(int32_t id);
void ForgetPartErrors(int32_t id);
std::optional<Error> FirstPartError(int32_t id); // of those that are not tried again
// The part that is tried again next.
struct PostponedPart {
    Error error;
    int attempts;
    std::chrono::milliseconds left;
};
std::optional<PostponedPart> NextPostponedPart(int32_t id);
// Parts and jobs a worker left behind become pending again, and it was no attempt.
void ReleaseClaims(int32_t id, std::optional<int> worker);
// Before that: the parts of a worker that died of what it did; nullopt: of any, if the server
// crashed since they were claimed. Returns how many.
int64_t BlameClaims(int32_t id, std::optional<int> worker);
// The same of jobs. One that has used up livemigrate.copy_attempts keeps its error and is not
// claimed; ANALYZE is skipped with a warning.
void BlameJobs(int32_t id, std::optional<int> worker);
// The error of such a job, in these phases.
std::optional<Error> GivenUpJob(int32_t id, int last_phase);
void ForgetJobAttempts(int32_t id);
struct PartCounts {
    int64_t left = 0;      // that can be copied, now or later, or are being copied
    int64_t failed = 0;    // tables, and ranges of large objects
    int64_t postponed = 0; // of those left
};
PartCounts CountUnfinishedParts(int32_t id);

// What the status shows of copy and indexes, from the rows of all tables and jobs.
struct CopyFigures {
    uint64_t tables = 0;
    uint64_t tables_done = 0;
    uint64_t bytes = 0;
    uint64_t bytes_done = 0;
    uint64_t copied_bytes = 0; // in COPY's format
    uint64_t rows_done = 0;
};
struct JobFigures {
    uint64_t jobs = 0;
    uint64_t jobs_done = 0;
};
CopyFigures SumTables(int32_t id);
JobFigures SumJobs(int32_t id);
// What of them takes as long as its table is large.
BuildWork SumBuilds(int32_t id);
// For when no coordinator runs; nullopt when one begins to.
void KeepWork(int32_t id, const std::optional<std::pair<CopyFigures, JobFigures>> &work);

// Schema jobs. Those of phase kIndexes are not ready before the data they need is complete.
void InsertJobs(int32_t id, const std::vector<SchemaJob> &jobs);
// All data is complete: nothing waits for it any more. ANALYZE that has not begun goes behind the
// indexes, and with `defer_foreign_keys` these go behind the changes that make them hold.
void ReleaseJobs(int32_t id, bool defer_foreign_keys);
// An error of a job while the data stage still runs: kept, and met again in the next stage.
void FailJob(const SchemaJob &job, const Error &error);
// Some, or all that are complete.
void ReleaseJobsOfTables(int32_t id, const std::optional<std::set<int32_t>> &complete);
int64_t CountReadyJobs(int32_t id, int most); // of phase kIndexes, pending
// Claims the next pending job for one of `workers` workers, or several on small tables, which are
// to be run in one transaction and in this order. None that has failed since ForgetJobErrors: its
// error is to be read, and another worker would only meet it again.
std::vector<SchemaJob> ClaimJobs(int32_t id, int worker, int workers, int last_phase);
void ForgetJobErrors(int32_t id);
void SkipJob(const SchemaJob &job, const std::string &note);
struct FinishedJob {
    const SchemaJob *job;
    int64_t started; // TimestampTz
    int64_t finished;
};
void FinishJobs(const std::vector<FinishedJob> &finished);
int64_t CountUnfinishedJobs(int32_t id, int last_phase);
bool HasJobs(int32_t id);
// Jobs for the refresh of materialized views, (schema, name), in this order; instead of those that
// are there from an earlier attempt. The coordinator runs them itself.
std::vector<SchemaJob> PlanRefreshes(int32_t id,
                                     const std::vector<std::pair<std::string, std::string>> &views);
void BeginJob(const SchemaJob &job);

} // namespace livemigrate::control
