#include "pg/prelude.hpp"

#include "stage/apply_target.hpp"

#include "core/error.hpp"
#include "core/spool_directory.hpp"
#include "pg/guard.hpp"
#include "pg/transaction.hpp"
#include "pg/wait.hpp"

#include <algorithm>
#include <span>
#include <utility>

namespace livemigrate::stage {

namespace {

using std::chrono::milliseconds;

// A batch under backlog. The larger, the fewer commits and the more changes to the same rows become
// one; the smaller, the less is read again after an interruption, and the better it fits the cache.
constexpr size_t kBatchChanges = 20'000;
constexpr size_t kBatchBytes = 32 << 20;

constexpr milliseconds kOriginInterval{1000};

ValueFormat
FormatOf(const ApplySettings &settings) {
    // pgoutput converts to our client_encoding; wal2json is brought to UTF-8 before decoding.
    return {settings.plugin,
            settings.plugin == Plugin::kPgoutput ? GetDatabaseEncoding() : PG_UTF8};
}

ApplyWriter::NotStreamed
NotStreamed(const ApplySettings &settings) {
    ApplyWriter::NotStreamed names;
    for (const CopyTable &table : settings.tables) {
        if (table.relkind == 'r' && (!table.copy_data || table.persistence == 'u')) {
            names.emplace(std::pair(table.schema, table.name), table.snapshot_lsn);
        }
    }
    return names;
}

} // namespace

ApplyTarget::ApplyTarget(const ApplySettings &settings, ApplyObserver &observer,
                         ApplyFailure &failure)
    : settings_(settings), observer_(observer), failure_(failure),
      batch_(kBatchChanges, kBatchBytes),
      writer_(FormatOf(settings), NotStreamed(settings), LossyColumns(settings),
              ApplyRoutes(settings.tables, settings.ask_about_root), failure) {}

Lsn
ApplyTarget::SetUpOrigin() {
    pg::Transaction transaction;
    const XLogRecPtr progress = pg::Call([&] {
        const RepOriginId origin = replorigin_by_name(settings_.origin.c_str(), false);
        pg::ReplicationOriginSetup(origin);
        replorigin_session_origin = origin;
        // Flushed: it is told to the source and to the spool as such.
        return replorigin_session_get_progress(true);
    });
    transaction.Commit();
    origin_lsn_ = std::max(settings_.start_after, Lsn{progress});
    origin_set_at_ = std::chrono::steady_clock::now();
    passed_.end_lsn = origin_lsn_;
    observer_.Committed(origin_lsn_, 0, {});
    observer_.Flushed(origin_lsn_, 0);
    return origin_lsn_;
}

void
ApplyTarget::End(const Complete &transaction, bool at_once) {
    batch_.EndTransaction();
    complete_.push_back({transaction, batch_.complete().size()});
    if (at_once || batch_.full() || target_ || complete_.size() >= kBatchChanges) {
        CommitComplete();
    }
}

void
ApplyTarget::Refuse(const Change &change, const Error &error) {
    CommitComplete();
    batch_.Add(change);
    OpenTarget();
    writer_.Refuse(batch_, batch_.items().back(), error);
}

void
ApplyTarget::WriteOpen() {
    if (!target_) {
        AdvanceOrigin(); // it cannot be before this transaction ends
    }
    OpenTarget();
    in_source_order_ += writer_.Write(batch_, batch_.items());
    batch_.Clear();
}

bool
ApplyTarget::TryWriteOpen() {
    try {
        WriteOpen();
        if (!writer_.has_fired()) {
            return true;
        }
    } catch (const Error &) {
        failure_ = {};
    }
    DropOpen();
    return false;
}

void
ApplyTarget::DropOpen() {
    batch_.DropOpenTransaction();
    if (target_) {
        target_.reset(); // it has nothing else
        in_source_order_ = 0;
    }
}

void
ApplyTarget::OpenTarget() {
    if (!target_) {
        target_.emplace(settings_.join_nodes);
        writer_.BeginTarget();
    }
}

void
ApplyTarget::CommitComplete() {
    if (complete_.empty()) {
        return;
    }
    try {
        CommitFirst(complete_.size());
    } catch (const Error &) {
        const auto failed =
            std::find_if(complete_.begin(), complete_.end(), [this](const Entry &one) {
                return failure_.set && one.begin_lsn == failure_.commit_lsn;
            });
        target_.reset();
        in_source_order_ = 0;
        if (failed == complete_.begin() || failed == complete_.end()) {
            throw;
        }
        const ApplyFailure failure = std::exchange(failure_, {});
        CommitFirst(static_cast<size_t>(failed - complete_.begin()));
        failure_ = failure;
        throw;
    }
    complete_.clear();
    batch_.EraseComplete();
}

void
ApplyTarget::CommitFirst(size_t count) {
    const std::span<const Entry> these = std::span(complete_).first(count);
    const Entry &last = these.back();
    if (last.items > 0) {
        OpenTarget();
        in_source_order_ += writer_.Write(batch_, batch_.complete().first(last.items));
    }
    if (target_) {
        writer_.FireDeferred();
    }
    ApplyCounts counts;
    counts.transactions = count;
    counts.in_source_order = std::exchange(in_source_order_, 0);
    for (const Complete &one : these) {
        counts.changes += one.changes;
        counts.skipped += one.passed_over;
        if (one.skipped && (settings_.worker == 0 || one.passed_over > 0)) {
            OpenTarget();
            observer_.Skipped(one.begin_lsn, one.passed_over);
        }
    }
    XLogRecPtr local = 0;
    passed_ = last;
    if (!target_ && OriginIsOld() && observer_.Announce(last.end_lsn)) {
        OpenTarget();
    }
    if (target_) {
        if (!observer_.Announce(last.end_lsn)) {
            throw Error(sqlstate::kSerializationFailure,
                        "endpos was set before transactions that were being applied")
                .Detail("Apply begins again behind the last transaction applied.");
        }
        local = Commit(last);
    }
    // Nothing is told that the origin does not tell, too: otherwise the spool would not reach back
    // to where apply begins again, nor, after a crash that takes the spool's tail, the source.
    if (local != 0) {
        positions_.Add(local, last.end_lsn, last.position);
    }
    observer_.Committed(last.end_lsn, last.commit_time, counts);
    ReportFlushed();
}

XLogRecPtr
ApplyTarget::Commit(const Complete &last) {
    const XLogRecPtr local = target_->Commit(last.end_lsn, last.commit_time);
    target_.reset();
    origin_lsn_ = last.end_lsn;
    origin_set_at_ = std::chrono::steady_clock::now();
    return local;
}

bool
ApplyTarget::OriginIsOld() const {
    return passed_.end_lsn > origin_lsn_ &&
           std::chrono::steady_clock::now() - origin_set_at_ > kOriginInterval;
}

void
ApplyTarget::AdvanceOrigin() {
    if (passed_.end_lsn <= origin_lsn_ || !observer_.Announce(passed_.end_lsn)) {
        return;
    }
    OpenTarget();
    positions_.Add(Commit(passed_), passed_.end_lsn, passed_.position);
}

void
ApplyTarget::ReportFlushed() {
    const XLogRecPtr local = pg::LocalFlushPosition();
    if (const std::optional<FlushPosition> flushed = positions_.FlushedUpTo(local)) {
        observer_.Flushed(flushed->remote_end_lsn, flushed->spool_position.segment);
    }
    const uint64_t keep_from = observer_.BeginPruning();
    if (keep_from > pruned_segment_) {
        PruneSpool(settings_.spool_directory, {keep_from, 0});
        pruned_segment_ = keep_from;
    }
    observer_.EndPruning();
}

void
ApplyTarget::FlushToDisk() {
    pg::Call([] { XLogFlush(XactLastCommitEnd); });
    ReportFlushed();
}

} // namespace livemigrate::stage
