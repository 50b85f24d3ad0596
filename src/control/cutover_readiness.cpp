#include "pg/prelude.hpp"

#include "control/cutover_readiness.hpp"

#include "control/comparison.hpp"
#include "control/shared_memory.hpp"
#include "core/apply_progress.hpp"
#include "core/operator_text.hpp"
#include "core/replay_lag.hpp"
#include "core/sql_text.hpp"
#include "pg/guc.hpp"
#include "pg/partition_routing.hpp"
#include "pg/spi.hpp"
#include "pg/sql_row.hpp"
#include "pg/table_manager.hpp"

#include <algorithm>
#include <set>

namespace livemigrate::control {

namespace {

constexpr double kMicroseconds = 1e6;
constexpr size_t kMostTables = 10;

class ReadinessCheck {
  public:
    ReadinessCheck(const Migration &migration, bool thorough)
        : migration_(migration), thorough_(thorough) {}

    Readiness
    Run() {
        CheckLag();
        CheckSkipped();
        CheckCompared();
        if (thorough_) {
            CheckCleanup();
        }
        return std::move(found_);
    }

  private:
    void
    Add(const char *check_id, const char *severity, const std::string &object,
        const std::string &message, const std::string &fix = "") {
        found_.rows.push_back({check_id, severity, object, message,
                               fix.empty() ? "" : NamedHint(migration_.id, fix), ""});
    }

    void
    CheckLag() {
        constexpr char kId[] = "replay_lag";
        if (migration_.stage >= Stage::kCutover) {
            Add(kId, "ok", "", "everything up to endpos is applied");
            return;
        }
        if (migration_.state != State::kRunning) {
            Add(kId, "warning", "",
                "the migration is " + std::string(StateName(migration_.state)) +
                    ": nothing is applied",
                "SELECT livemigrate.migration_resume();");
            return;
        }
        const auto segment = SharedSegment::Attach(migration_.dsm_handle, migration_.id);
        if (!segment || segment->state().coordinator_pid.load() == 0) {
            Add(kId, "warning", "", "the coordinator is not running: nothing is applied",
                "SELECT livemigrate.migration_resume();");
            return;
        }
        JudgeLag(segment->state());
    }

    void
    JudgeLag(const SharedState &state) {
        constexpr char kId[] = "replay_lag";
        constexpr char kWatch[] =
            "SELECT stage, replay_lag, lag_bytes, eta FROM livemigrate.migration_status();";
        const uint64_t applied = AppliedUpTo(state);
        const uint64_t source = std::max(state.source_lsn.load(), state.received_lsn.load());
        const bool drained = IsDrained(state);
        const Pace pace{state.apply_bytes_per_second.load(), state.source_bytes_per_second.load(),
                        source > applied && !drained ? source - applied : 0};
        const std::optional<int64_t> lag = ReplayLag(state, GetCurrentTimestamp());
        if (migration_.stage < Stage::kCatchup || !lag) {
            Add(kId, "warning", "",
                "no change is applied yet, in stage " + std::string(StageName(migration_.stage)),
                kWatch);
            return;
        }
        const double behind = static_cast<double>(*lag) / kMicroseconds;
        const std::optional<double> until = drained ? 0 : SecondsToCatchUp(pace);
        const double wanted = std::chrono::duration<double>(pg::CaughtUpLag()).count();
        const std::string amount =
            FormatSeconds(behind) + " (" + FormatBytes(pace.lag_bytes) + " of WAL)";
        if (behind <= wanted) {
            found_.seconds_behind = behind;
            Add(kId, "ok", "", "apply is " + amount + " behind the source");
            return;
        }
        // What the source writes meanwhile ends with the application.
        found_.seconds_behind =
            pace.apply > 0 ? std::optional(static_cast<double>(pace.lag_bytes) / pace.apply)
                           : std::nullopt;
        Add(kId, "warning", "",
            "apply is " + amount + " behind the source" +
                (until ? "" : ", which writes faster than changes are applied") +
                ": the application would wait for it",
            kWatch);
    }

    void
    CheckSkipped() {
        constexpr char kId[] = "skipped_transactions";
        const pg::SqlResult skipped = pg::Query(
            "SELECT commit_lsn, requested_by, COALESCE(changes, 0) FROM "
            "livemigrate.skipped_transaction WHERE migration = $1::int AND skipped_at IS NOT NULL "
            "ORDER BY commit_lsn",
            {std::to_string(migration_.id)});
        for (const pg::SqlRow &row : skipped.rows) {
            Add(kId, "warning", pg::Text(row, 0),
                "the source transaction that commits there was skipped, as asked for by " +
                    pg::Text(row, 1) + ": the target lacks its " +
                    Counted(pg::Number<uint64_t>(row, 2), "change"),
                "SELECT relation, differing_keys FROM livemigrate.compare_data() WHERE NOT "
                "equal;");
        }
        if (skipped.rows.empty()) {
            Add(kId, "ok", "", "no transaction was skipped");
        }
    }

    void
    CheckCompared() {
        constexpr char kId[] = "compared";
        const pg::SqlResult compared =
            pg::Query("SELECT relation, equal, at::timestamptz(0) FROM livemigrate.comparison "
                      "WHERE migration = $1::int ORDER BY relation",
                      {std::to_string(migration_.id)});
        std::set<std::string> seen;
        bool differs = false;
        for (const pg::SqlRow &row : compared.rows) {
            const std::string relation = pg::Text(row, 0);
            seen.insert(relation);
            if (!pg::Flag(row, 1)) {
                differs = true;
                Add(kId, "warning", relation, "differed when it was compared, " + pg::Text(row, 2),
                    "SELECT relation, differing_keys, detail FROM livemigrate.compare_data() WHERE "
                    "NOT equal;");
            }
        }
        if (!thorough_) {
            return;
        }
        const std::vector<std::string> missing = NotCompared(seen);
        if (!missing.empty()) {
            Add(kId, migration_.stage < Stage::kCutover ? "warning" : "notice", List(missing),
                Counted(missing.size(), "table") + (missing.size() == 1 ? " has" : " have") +
                    " not been compared",
                "SELECT relation, differing_keys FROM livemigrate.compare_data() WHERE NOT "
                "equal;");
        } else if (!differs) {
            Add(kId, "ok", "",
                seen.empty() ? "there is no table to compare"
                             : "all tables were equal when they were compared");
        }
    }

    std::vector<std::string>
    NotCompared(const std::set<std::string> &seen) const {
        std::vector<std::string> missing;
        for (const CopyTable &table : LoadTables(migration_.id)) {
            const std::string name = ComparedName(table.schema, table.name);
            if (table.relkind == 'r' && table.copy_data && !seen.contains(name) &&
                (seen.empty() || !IsComparedAsWhole(table, seen))) {
                missing.push_back(name);
            }
        }
        return missing;
    }

    // Rows of some partitions are compared as those of the topmost table (pg/partition_routing).
    static bool
    IsComparedAsWhole(const CopyTable &table, const std::set<std::string> &seen) {
        const Oid relid = pg::FindTable(table.target_schema, table.target_name);
        const Oid root = OidIsValid(relid) ? pg::RoutingRelation(relid) : relid;
        if (root == relid && !(OidIsValid(relid) && table.through_root())) {
            return false;
        }
        const auto [schema, name] = pg::NameOf(root);
        return seen.contains(ComparedName(schema, name));
    }

    static std::string
    List(const std::vector<std::string> &names) {
        std::string text;
        for (size_t i = 0; i < std::min(names.size(), kMostTables); i++) {
            text += (i == 0 ? "" : ", ") + names[i];
        }
        return names.size() > kMostTables
                   ? text + " and " + std::to_string(names.size() - kMostTables) + " more"
                   : text;
    }

    void
    CheckCleanup() {
        constexpr char kId[] = "cleanup";
        if (migration_.stage < Stage::kCutover) {
            return;
        }
        if (migration_.cleaned_up) {
            Add(kId, "ok", "", "slot, publication, origin and buffered changes are gone");
        } else {
            Add(kId, "notice", migration_.slot_name,
                "the slot on the source, the origin and buffered changes are still there, so that "
                "writes after endpos can be seen",
                "SELECT livemigrate.migration_cleanup();");
        }
    }

    const Migration &migration_;
    const bool thorough_;
    Readiness found_;
};

} // namespace

Readiness
CheckReadiness(const Migration &migration, bool thorough) {
    return ReadinessCheck(migration, thorough).Run();
}

} // namespace livemigrate::control
