// The coordinator of one migration: the state machine. It runs the stages in order, keeps the
// workers going, holds the source's snapshot, and is the one that moves stage and state.
//
// Every stage is idempotent: a coordinator that is started again reads the catalog and goes on.
#pragma once

#include "control/catalog.hpp"
#include "control/lag_history.hpp"
#include "control/shared_memory.hpp"
#include "control/source_monitor.hpp"
#include "control/work_directory.hpp"
#include "control/worker_pool.hpp"
#include "core/rate_meter.hpp"
#include "core/spool_room.hpp"
#include "core/table_pattern.hpp"
#include "source/catalog_query.hpp"
#include "source/connection.hpp"
#include "source/replication_stream.hpp"
#include "stage/cutover.hpp"
#include "stage/publication.hpp"

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

namespace livemigrate::control {

struct SourceBlockers;
struct TablesToRepeat;

// Thrown by the coordinator's waits when a session asked for it.
struct PauseRequested {};
struct StopRequested {};

// A table whose columns the target has not followed.
struct ChangedTable {
    CopyTable table;
    std::vector<SourceColumn> before;
    std::vector<SourceColumn> now;
    std::vector<ColumnChange> changes;
};

class Coordinator {
  public:
    // `checked_at`: see pg::WorkerArguments.
    Coordinator(SharedSegment &segment, Migration migration, int64_t checked_at);

    // Until the migration is done, or paused or failed with nothing to hold, and no worker runs.
    // The segment is out of the migration's row then. False, with the row as it was, when it was
    // told to leave.
    bool Run();

  private:
    // coordinator.cpp: the state machine.
    bool RunStages();
    void RunStage();
    void LeaveRetrying();
    bool EndStage();
    bool HandleFailure(const Error &error);
    bool KeepFailure(const Error &error, bool is_new, std::chrono::milliseconds delay);
    bool EnterPause();
    bool WaitForResume(bool keep_receiver);
    void Reload();
    void HonorRequests(const Migration &now) const;
    void CheckRequests();
    static constexpr std::chrono::milliseconds kTickPause{200};
    void Tick(const std::string &message, std::chrono::milliseconds pause = kTickPause);
    // What keeps workers, or the only parts that are left, from going on; nullptr: nothing.
    const WorkerPool::Trouble *
    trouble() const {
        const WorkerPool::Trouble *of_workers = pool_.trouble();
        return of_workers == nullptr && part_trouble_ ? &*part_trouble_ : of_workers;
    }
    void ShowTrouble();

    // coordinator_waits.cpp: what the migration waits for, told in status and events.
    struct WaitText {
        std::string message; // "; ..." for each, behind what it does
        std::string hint;    // for the first that has one
        void Add(const std::string &more, const std::string &its_hint);
    };
    WaitText DescribeWaits();
    void AddSilence(WaitText &waits);
    void AddLockOnSource(WaitText &waits);
    void AddSlotDanger(WaitText &waits);
    void ShowPause(bool receives);
    void ShowLingering(int process);
    bool ReleaseWork(int slot, bool died);
    void AskMonitor(std::chrono::seconds limit, const SourceMonitor::Question &question);
    using FindBlocking =
        std::function<SourceBlockers(source::Connection &, const source::WaitObserver &)>;
    std::optional<SourceBlockers> AskWhoBlocks(const std::string &doing, const FindBlocking &find);
    source::WaitObserver WatchLocks(source::Connection &source, const std::string &doing);
    void CheckSlotTimeout(std::chrono::steady_clock::time_point began, const std::string &what,
                          const std::optional<SourceBlockers> &blockers) const;
    SpoolHoldText WatchSpool();
    void AnnounceHold(const SpoolHoldText &text);
    void SetMessage(const std::string &message, const std::string &hint = "");
    void Event(const char *severity, const std::string &message, const std::string &detail = "");
    void PublishEndpos();
    void RestoreCounters();
    void KeepCounters();
    void MeasureRates();
    // What the tables of tables and jobs add up to, for all to see. REQUIRES: no copy worker and no
    // index worker runs, respectively.
    void PublishCopyFigures();
    void PublishJobFigures();
    void PublishJobsEnd();
    bool
    SnapshotIsHeld() const {
        return snapshot_session_.has_value();
    }

    // coordinator_setup.cpp: preflight, slot, roles, schema.
    void RunPreflightStage();
    void RunSlotStage();
    void CheckNamesAreFree();
    void BeginToReceive();
    void UseExistingSlot(source::Connection &source);
    void MakeSlot();
    void MarkSent(bool &sent);
    [[noreturn]] void ForgetSlotPlan(const Error &taken);
    source::CreatedSlot CreateSlot(source::ReplicationStream &stream, source::Connection &monitor,
                                   const std::vector<CopyTable> &published);
    void DropLeftovers(source::ReplicationStream &stream);
    std::vector<CopyTable> ListTables(source::Connection &source,
                                      source::TableSizes sizes = source::TableSizes::kMeasured);
    void RunRolesStage();
    void RunSchemaStage();
    void RestoreSchema();
    void DumpSchema();
    void DistributeTables();
    void CopyDatabaseSettings();
    std::vector<std::pair<std::string, std::string>> ExcludedRelations();

    // coordinator_snapshot.cpp
    void HoldSnapshot(const std::string &exported);
    void EnsureSnapshot();
    void CheckSnapshot();
    void AcquireNewSnapshot();
    void RepeatTables(const TablesToRepeat &repeated);
    void ReleaseSnapshot();
    void CheckBeforeEndpos();
    void LockTables(const std::vector<CopyTable> &tables);
    void ShowLockHolders(int waiting_pid);
    void KeepReceiving();
    void WarnOfEmptiedTables();
    void LookForEmptiedTables();
    void CheckSlotIsThere(source::ReplicationStream &stream);

    // coordinator_data.cpp: data and indexes.
    void ReleaseOrphans();
    void RunDataStage();
    void PlanData();
    void EmptyExisting(const std::vector<CopyTable> &tables);
    void ThrowPartError(int64_t failed);
    void RunIndexStage();
    void PlanIndexes();
    void PlanIndexesAhead();
    void ReleaseIndexes();
    std::map<std::pair<std::string, std::string>, int32_t> TablesIndexedAhead();
    void EnsureCopying(int64_t parts);
    void ShowPostponed(const PartCounts &parts);
    bool PausesAfter(Stage stage) const;
    void RunJobs(int last_phase, const char *what);

    // coordinator_apply.cpp: the apply workers.
    void EnsureApply();
    void PrepareApply();
    void LevelApply(Lsn level);
    bool ApplyHasEnded() const;

    // coordinator_stream.cpp: catchup, streaming, cutover.
    void RunCatchupStage();
    void RunStreamingStage();
    void AwaitEndpos();
    bool EndposStands();
    void RunCutoverStage();
    void RefreshViews(source::Connection &source, stage::CutoverReport &report);
    void GiveUpRefresh(const SchemaJob &job, stage::CutoverReport &report);
    void MakeCutoverChecks();
    void CheckInsertOnlyTables(source::Connection &source, const TableFilter &filter);
    std::map<stage::RelationName, bool> InsertOnlyPartitions(source::Connection &source,
                                                             const TableFilter &filter,
                                                             const std::vector<CopyTable> &tables);
    // Until the sessions of the source have reported which rows they changed, or could have.
    void WaitForReports(source::Connection &source);
    void WarnOfUnreported(uint64_t sessions, uint64_t unseen, const std::string &first);
    void CheckNewPartitions(source::Connection &source, const TableFilter &filter);
    void AnalyzeChangedTables(stage::CutoverReport &report);
    void FindUnknownTables(source::Connection &source, const TableFilter &filter,
                           std::vector<std::pair<std::string, std::string>> known,
                           stage::CutoverReport &report);
    void PollSource(bool takes_requests = true);
    void ReadSourceFigures(source::Connection &source, const source::WaitObserver &observer);
    std::chrono::milliseconds Lag() const;
    uint64_t LevelOfTables();

    // coordinator_columns.cpp
    std::vector<ChangedTable> FindChangedTables(source::Connection &source,
                                                const source::WaitObserver &observer);
    [[noreturn]] void ThrowChangedTables(source::Connection &source,
                                         const std::vector<ChangedTable> &changed);
    void CheckReplacedTables(source::Connection &source, const source::WaitObserver &observer);
    void CheckColumnTypes();
    void CheckColumns(source::Connection &source, const source::WaitObserver &observer = {});
    void LookForChangedTables(source::Connection &source, const source::WaitObserver &observer);
    void WatchColumns();

    // coordinator_tables.cpp
    void CheckSingleShards();
    void CheckPlacedTables();
    void CheckTablesEmpty(const std::vector<CopyTable> &tables);
    void CheckDistributedTables();
    void RouteRows();
    void AskForBounds();
    void AskForConditions();

    // coordinator_identity.cpp
    void CheckIdentities(source::Connection &source, const source::WaitObserver &observer = {});
    void CheckRoutedIdentities();

    // coordinator_publication.cpp
    void CreatePublications(source::Connection &source, const std::vector<CopyTable> &tables);
    stage::PublicationQuestion AboutPublications(const std::vector<CopyTable> &tables) const;
    void RememberPublications(const stage::PublicationState &state);
    void CheckPublications(source::Connection &source, const source::WaitObserver &observer = {});
    [[noreturn]] void ThrowUnpublished(const std::vector<CopyTable> &tables,
                                       const std::vector<uint32_t> &unpublished);
    void WatchPublications();

    SharedSegment &segment_;
    SharedState &state_;
    Migration migration_;
    int64_t checked_at_;
    WorkDirectory directory_;
    WorkerPool pool_;
    std::optional<WorkerPool::Trouble> part_trouble_;
    std::optional<source::Connection> snapshot_session_;
    SourceMonitor monitor_;
    std::vector<std::string> publications_made_; // by this attempt of the slot stage
    std::string shown_message_;
    std::string shown_hint_;
    bool receiver_wanted_ = false;
    bool is_error_recorded_ = false; // in the events, by the worker that met it
    bool jobs_paused_ = false;       // TimescaleDB's scheduler was told
    int64_t announced_silence_ = 0;  // since when, as the events say
    uint32_t announced_holds_ = 0;   // of SpoolHoldBit
    bool slot_in_danger_ = false;    // as the events say
    bool pause_waits_ = false;       // as the message of a paused migration says
    std::chrono::steady_clock::time_point last_hold_{};
    std::chrono::steady_clock::time_point last_request_check_{};
    std::chrono::steady_clock::time_point next_poll_{};
    std::chrono::steady_clock::time_point next_publication_check_{};
    std::chrono::steady_clock::time_point next_columns_check_{};
    std::set<std::string> announced_changes_; // of columns, as the events say
    RateMeter rates_;
    LagHistory lag_history_;
};

} // namespace livemigrate::control
