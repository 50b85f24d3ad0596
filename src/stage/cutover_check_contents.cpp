// What the stage cutover does besides setting sequences, as done or still to be done, and how long
// all of it will take.

#include "pg/prelude.hpp"

#include "stage/cutover_check_run.hpp"

#include "core/estimate.hpp"
#include "core/operator_text.hpp"
#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"
#include "source/locked_relations.hpp"

#include <set>

namespace livemigrate::stage {

namespace {

constexpr char kPopulatedViews[] = R"(
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'm' AND c.relispopulated
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
                  WHERE e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                    AND e.objid = c.oid AND e.deptype = 'e')
ORDER BY 1
)";

// Behind kLockedRelations: how many those are, and their bytes. A view that is being refreshed is
// not opened, nor is any index: that would wait.
constexpr char kPopulatedSize[] = R"(
SELECT pg_catalog.count(*), COALESCE(pg_catalog.sum(
         CASE WHEN c.oid IN (SELECT relation FROM locked) THEN c.relpages * b.bytes
              ELSE pg_catalog.pg_table_size(c.oid) END
         + (SELECT COALESCE(pg_catalog.sum(x.relpages::pg_catalog.int8), 0) * b.bytes
            FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
            WHERE i.indrelid = c.oid)), 0)
FROM pg_catalog.pg_class c
CROSS JOIN (SELECT pg_catalog.current_setting('block_size')::pg_catalog.int8 AS bytes) b
WHERE c.relkind = 'm' AND c.relispopulated
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
                  WHERE e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                    AND e.objid = c.oid AND e.deptype = 'e')
)";

constexpr char kEmptyViews[] = R"(
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'm' AND NOT c.relispopulated ORDER BY 1
)";

// The planner knows nothing of these, and autovacuum may be off or far from them. Statistics that
// the role may not see count as there. Takes no lock on the tables.
constexpr char kNotAnalyzed[] = R"(
SELECT w.name FROM w
JOIN pg_catalog.pg_class c ON c.oid = w.oid AND c.relkind = 'r'
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.reltuples <> 0
  AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
  AND NOT pg_catalog.row_security_active(c.oid)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_stats s
                  WHERE s.schemaname = n.nspname AND s.tablename = c.relname)
  AND EXISTS (SELECT FROM pg_catalog.pg_attribute a
              WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                AND a.attstattarget IS DISTINCT FROM 0)
ORDER BY 1
)";

} // namespace

void
CheckDowntime(CutoverCheckRun &run) {
    constexpr char kId[] = "downtime";
    if (!run.settings.before_cutover) {
        return;
    }
    if (!run.settings.seconds_behind) {
        run.Add(kId, "notice", "", "cannot be told before changes are applied");
        return;
    }
    const auto sequences = pg::Number<uint64_t>(
        run.source.Query("SELECT pg_catalog.count(*) FROM pg_catalog.pg_sequence").rows.at(0), 0);
    const pg::SqlRow views =
        run.source.Query(std::string("WITH ") + source::kLockedRelations + kPopulatedSize)
            .rows.at(0);
    const auto bytes = pg::Number<uint64_t>(views, 1);
    const double behind = *run.settings.seconds_behind;
    run.Add(kId, "ok", "",
            "from set_endpos() to done about " +
                FormatSeconds(behind + CutoverSeconds(sequences, bytes, 0)) + ": " +
                FormatSeconds(behind) + " of lag, " + Counted(sequences, "sequence") + ", " +
                Counted(pg::Number<uint64_t>(views, 0), "materialized view") + " of " +
                FormatBytes(bytes) + "; then the checks, at most livemigrate.cutover_check_limit");
}

void
CheckMaterializedViews(CutoverCheckRun &run) {
    constexpr char kId[] = "materialized_views";
    std::set<std::string> populated;
    for (const pg::SqlRow &row : run.source.Query(kPopulatedViews, run.settings.waiting).rows) {
        populated.insert(pg::Text(row, 0));
    }
    if (run.settings.before_cutover) {
        run.Add(kId, "ok", "",
                "stage cutover refreshes " + Counted(populated.size(), "materialized view"));
        return;
    }
    for (const pg::SqlRow &row : pg::Query(kEmptyViews).rows) {
        const std::string view = pg::Text(row, 0);
        if (populated.contains(view)) {
            run.Add(kId, "warning", view, "is not populated, unlike on the source",
                    "REFRESH MATERIALIZED VIEW " + view + ";");
        }
    }
    run.Close(kId, "materialized views are populated as on the source");
}

void
CheckStatistics(CutoverCheckRun &run) {
    constexpr char kId[] = "statistics";
    if (run.settings.before_cutover) {
        run.Add(kId, "ok", "", "stage cutover analyzes what has changed");
        return;
    }
    for (const pg::SqlRow &row : run.AskTarget(WithTables(kNotAnalyzed)).rows) {
        const std::string table = pg::Text(row, 0);
        run.Add(kId, "warning", table,
                "has rows but no statistics, so queries may be planned badly",
                "ANALYZE " + table + ";");
    }
    run.Close(kId, "the planner has statistics of all tables");
}

// migration_check advises to keep pg_cron from launching what runs on the source, too.
void
CheckScheduledJobs(CutoverCheckRun &run) {
    constexpr char kId[] = "scheduled_jobs";
    const pg::SqlRow found =
        pg::Query("SELECT pg_catalog.current_setting('cron.launch_active_jobs', true) IN "
                  "('off', 'false', 'no', '0'), "
                  "pg_catalog.to_regclass('cron.job') IS NOT NULL AND "
                  "pg_catalog.has_table_privilege(pg_catalog.to_regclass('cron.job')::oid, "
                  "'SELECT')")
            .rows.at(0);
    if (!run.settings.before_cutover && pg::Flag(found, 0) && pg::Flag(found, 1)) {
        const auto jobs = pg::Number<uint64_t>(
            pg::Query("SELECT pg_catalog.count(*) FROM cron.job WHERE active").rows.at(0), 0);
        if (jobs > 0) {
            run.Add(kId, "warning", "\"cron\".\"job\"",
                    Counted(jobs, "active job") + " of pg_cron " + (jobs == 1 ? "is" : "are") +
                        " not launched: cron.launch_active_jobs is off",
                    "ALTER SYSTEM SET cron.launch_active_jobs = on; -- once the application uses "
                    "the target\nSELECT pg_reload_conf();");
        }
    }
    run.Close(kId, "no job of pg_cron is held back");
}

} // namespace livemigrate::stage
