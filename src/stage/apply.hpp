// Apply: spool -> decoded transactions -> target tables, each source transaction once.
//
// Source transactions are gathered into target transactions, each of which ends at a source
// transaction's end and carries the replication origin to it (invariants 1 and 3). With no backlog
// a batch is what is there, at once.
//
// Several workers may each apply their share of every transaction (core/apply_share), each with its
// own origin and so exactly once. What the shares of several workers depend on, a barrier, the
// first worker applies alone: when the others have committed all that is before it, and before they
// go on. Nothing else has to be kept for that: whoever has committed anything behind a barrier did
// so after the first worker's commit, so that no crash leaves the one without the other.
#pragma once

#include "core/apply_share.hpp"
#include "core/column_changes.hpp"
#include "core/copy_task.hpp"
#include "core/lsn.hpp"
#include "core/output_plugin.hpp"
#include "core/spool_format.hpp"
#include "core/table_pattern.hpp"
#include "stage/apply_failure.hpp"
#include "stage/apply_routes.hpp"

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace livemigrate::stage {

struct ApplySettings {
    std::string spool_directory;
    SpoolIdentity spool_identity;
    Plugin plugin = Plugin::kPgoutput;
    bool wal2json_numeric_option = false;
    std::string source_encoding; // of the source's database: what wal2json sends
    std::string origin;
    Lsn start_after; // the snapshot's or slot's position; the origin's progress when that is later
    std::vector<CopyTable> tables;
    // By CopyTable::id: what their columns were when the rows were copied; none where not known.
    std::map<int32_t, std::vector<SourceColumn>> columns;
    TableFilter filter;    // what the user selected: other tables are passed over, and counted
    std::set<Lsn> skipped; // commit_lsn of transactions that the user wants passed over
    uint32_t worker = 0;   // which of `workers`, each with an origin of its own
    uint32_t workers = 1;
    std::string join_nodes; // pg::JoinNodesSql()
    Dealings dealings;      // with several: which change belongs to which; the same for all
    AskAboutRoot ask_about_root;
};

// What one commit on the target brought.
struct ApplyCounts {
    uint64_t transactions = 0;
    uint64_t changes = 0;
    uint64_t skipped = 0;         // changes of tables left out on request
    uint64_t in_source_order = 0; // changes whose net effect could not be written
};

// What apply asks of and tells the other processes; see SharedState.
class ApplyObserver {
  public:
    struct Limit {
        SpoolPosition written;
        Lsn received; // read before `written`: all that commits before it lies below `written`
    };

    virtual ~ApplyObserver() = default;
    virtual Limit ReadLimit() = 0;
    virtual Lsn Endpos() = 0;
    // Announces a commit up to `end_lsn`. False: an endpos before it was set meanwhile, and the
    // batch must not be committed.
    virtual bool Announce(Lsn end_lsn) = 0;
    virtual void Committed(Lsn end_lsn, int64_t commit_time, const ApplyCounts &counts) = 0;
    // Inside the target transaction that takes the origin beyond a transaction passed over.
    virtual void Skipped(Lsn commit_lsn, uint64_t changes) = 0;
    // On disk, and so is the origin's progress; reading could begin with this segment of the spool.
    virtual void Flushed(Lsn end_lsn, uint64_t segment) = 0;
    // The first segment of the spool that is needed still; 0 if it is not for this worker to remove
    // those before it. While they are removed, nobody else begins to read them.
    virtual uint64_t BeginPruning() = 0;
    virtual void EndPruning() = 0;
    // With several workers. Everything of this worker's that commits before a barrier is committed.
    virtual void ArrivedAt(Lsn commit_lsn) = 0;
    virtual bool OthersHaveArrivedAt(Lsn commit_lsn) = 0;
    // Whether the first worker has committed all that ends up to there.
    virtual bool FirstHasPassed(Lsn end_lsn) = 0;
    virtual void WakeOthers() = 0;
    // Everything that was received up to `received` is applied.
    virtual void Drained(Lsn received) = 0;
    // Where a session wants apply to stand still: no transaction that commits at or beyond it is to
    // begin. Invalid: nowhere.
    virtual Lsn HoldAt() = 0;
    // Everything before `hold`, and nothing behind it, is committed. Told again and again.
    virtual void Held(Lsn hold) = 0;
    virtual void Doing(const std::string &what) = 0;
};

// Returns when endpos is reached: everything up to it is applied and flushed. Throws Error
// otherwise; then `failure` says at which change, if it was one. REQUIRES: no transaction is open;
// the session's replication origin is not set.
void Apply(const ApplySettings &settings, ApplyObserver &observer, ApplyFailure &failure);

} // namespace livemigrate::stage
