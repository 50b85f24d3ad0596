#include "pg/prelude.hpp"

#include "stage/cutover_check_run.hpp"

#include "core/error.hpp"
#include "core/operator_text.hpp"
#include "core/sql_text.hpp"
#include "pg/local_settings.hpp"
#include "pg/subtransaction.hpp"
#include "pg/time_limit.hpp"
#include "pg/wait.hpp"
#include "source/catalog_query.hpp"

#include <algorithm>

namespace livemigrate::stage {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// A walsender whose client has gone needs a moment to leave its slot.
constexpr int kSlotAttempts = 20;
constexpr milliseconds kSlotPause{100};

constexpr size_t kMostNames = 10;

std::string
Names(const std::set<std::pair<std::string, std::string>> &tables) {
    std::string names;
    size_t shown = 0;
    for (const auto &[schema, name] : tables) {
        if (shown++ == kMostNames) {
            return names + " and " + std::to_string(tables.size() - kMostNames) + " more";
        }
        names += (names.empty() ? "" : ", ") + QualifiedName(schema, name);
    }
    return names;
}

LaterWrites
FindWrites(CutoverCheckRun &run) {
    const auto counts = [&](const std::string &schema, const std::string &name) {
        return std::find(run.settings.tables.begin(), run.settings.tables.end(),
                         std::pair(schema, name)) != run.settings.tables.end();
    };
    for (int attempt = 1;; attempt++) {
        try {
            return FindLaterWrites(run.settings.stream, run.source, *run.settings.endpos, counts);
        } catch (const Error &error) {
            if (error.sqlstate() != sqlstate::kObjectInUse || attempt == kSlotAttempts) {
                throw;
            }
            pg::SleepOnLatch(kSlotPause);
        }
    }
}

void
CheckLaterWrites(CutoverCheckRun &run) {
    constexpr char kId[] = "writes_after_endpos";
    if (!run.settings.endpos) {
        return;
    }
    try {
        run.LimitSource();
        const LaterWrites found = FindWrites(run);
        if (found.transactions > 0) {
            run.Add(kId, "warning", Names(found.tables),
                    "the source was written to after endpos " + run.settings.endpos->ToString() +
                        ": " + Counted(found.transactions, "transaction") +
                        (found.complete ? "" : " at least") +
                        (found.transactions == 1 ? " is" : " are") + " not on the target",
                    "SELECT relation, differing_keys FROM livemigrate.compare_data() WHERE NOT "
                    "equal;\n-- Run on the source, to see who still writes: SELECT pid, usename, "
                    "application_name, client_addr, query FROM pg_stat_activity WHERE datname = "
                    "current_database() AND backend_type = 'client backend';");
        }
    } catch (const Error &error) {
        if (error.sqlstate() == sqlstate::kQueryCanceled && !run.Left()) {
            throw;
        }
        run.Add(kId, "notice", run.settings.stream.slot,
                "whether the source was written to after endpos could not be seen: " +
                    error.message(),
                "SELECT relation, differing_keys FROM livemigrate.compare_data() WHERE NOT equal;");
    }
    run.Close(kId, "the source was not written to after endpos");
}

} // namespace

CutoverCheckRun::CutoverCheckRun(const CutoverCheckSettings &given)
    : settings(given),
      source(source::Connection::Open(given.conninfo, source::ConnectionKind::kSql)),
      start_(Clock::now()) {
    source::CheckSameServer(source, given.system_identifier, given.call);
    std::vector<std::string> schemas;
    std::vector<std::string> names;
    for (const auto &[schema, name] : given.tables) {
        schemas.push_back(schema);
        names.push_back(name);
    }
    tables_ = {TextArrayLiteral(schemas), TextArrayLiteral(names)};
}

void
CutoverCheckRun::Add(const char *check_id, const char *severity, const std::string &object,
                     const std::string &message, const std::string &fix) {
    rows.push_back({check_id, severity, object, message, fix, ""});
}

void
CutoverCheckRun::Close(const char *check_id, const std::string &message) {
    if (std::none_of(rows.begin(), rows.end(),
                     [&](const CheckRow &row) { return row.check_id == check_id; })) {
        Add(check_id, "ok", "", message);
    }
}

pg::SqlResult
CutoverCheckRun::AskTarget(const std::string &sql) const {
    return pg::Query(sql, tables_);
}

pg::SqlResult
CutoverCheckRun::AskSource(const std::string &sql) {
    source.Query("SET statement_timeout = 0");
    return source.Query(sql, tables_, settings.waiting);
}

void
CutoverCheckRun::LimitSource() {
    if (const std::optional<milliseconds> left = Left()) {
        source.Query("SET statement_timeout = " +
                     std::to_string(std::max<int64_t>(left->count(), 1)));
    }
}

std::optional<milliseconds>
CutoverCheckRun::Left() const {
    if (!settings.limit) {
        return std::nullopt;
    }
    const auto used = std::chrono::duration_cast<milliseconds>(Clock::now() - start_);
    return std::max(*settings.limit - used, milliseconds(0));
}

std::optional<pg::SqlResult>
CutoverCheckRun::Measure(const char *check_id, const std::string &object, const std::string &sql) {
    const std::optional<milliseconds> left = Left();
    std::optional<pg::TimeLimit> limit;
    if (!left || left->count() > 0) {
        try {
            // Rolled back, so that locks do not gather.
            const pg::Subtransaction subtransaction;
            if (left) {
                limit.emplace(*left);
            }
            return pg::Query(sql);
        } catch (const Error &error) {
            if (error.sqlstate() != sqlstate::kQueryCanceled || !limit || !limit->Expired()) {
                throw;
            }
        }
    }
    Add(check_id, "notice", object,
        "not checked within the time for checks at cutover (livemigrate.cutover_check_limit)",
        "SELECT * FROM livemigrate.cutover_check() WHERE severity <> 'ok';");
    return std::nullopt;
}

std::optional<pg::SqlResult>
CutoverCheckRun::MeasureSource(const std::string &sql) {
    try {
        LimitSource();
        return source.Query(sql, settings.waiting);
    } catch (const Error &error) {
        if (error.sqlstate() == sqlstate::kQueryCanceled && !settings.limit) {
            throw;
        }
        return std::nullopt; // its rights or its time: then nothing is known
    }
}

std::vector<CheckRow>
CheckCutover(const CutoverCheckSettings &settings) {
    const pg::LocalSettings local({{"search_path", ""},
                                   {"row_security", "off"},
                                   {"bytea_output", "hex"},
                                   {"DateStyle", "ISO, MDY"},
                                   {"IntervalStyle", "postgres"},
                                   {"extra_float_digits", "3"},
                                   {"TimeZone", "UTC"}});
    CutoverCheckRun run(settings);
    CheckDowntime(run);
    CheckLaterWrites(run);
    CheckIndexes(run);
    CheckConstraints(run);
    CheckTriggers(run);
    CheckSequences(run);
    CheckMaterializedViews(run);
    CheckStatistics(run);
    CheckScheduledJobs(run);
    CheckReadOnly(run);
    CheckLargeObjects(run);
    CheckDeferrableKeys(run);
    CheckForeignKeys(run); // the longest last
    return std::move(run.rows);
}

} // namespace livemigrate::stage
