#include "control/source_leftovers.hpp"

#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"
#include "pg/wait.hpp"
#include "stage/publication.hpp"

#include <chrono>

namespace livemigrate::control {

namespace {

constexpr int kAttempts = 150;
constexpr int kPatience = 10; // attempts
constexpr std::chrono::milliseconds kPause{100};

void
EndUser(source::Connection &source, const std::string &slot) {
    source.Query("SELECT pg_catalog.pg_terminate_backend(a.pid) "
                 "FROM pg_catalog.pg_replication_slots s "
                 "JOIN pg_catalog.pg_stat_activity a ON a.pid = s.active_pid "
                 "WHERE s.database = pg_catalog.current_database() AND s.slot_name = " +
                 QuoteLiteral(slot) +
                 " AND a.application_name = 'livemigrate' AND a.usename = current_user");
}

void
Pause(const source::WaitObserver &waiting) {
    if (waiting) {
        waiting();
    }
    pg::SleepOnLatch(kPause);
}

void
EndPublishers(source::Connection &source, const Migration &migration,
              const source::WaitObserver &waiting) {
    std::string statements;
    for (const char *suffix : {"", stage::kInsertsOnlySuffix}) {
        const std::string begin =
            stage::CreatePublicationCommand(SlotName(migration.settings.name) + suffix);
        statements += (statements.empty() ? "" : " OR ") +
                      std::string("pg_catalog.strpos(query, ") + QuoteLiteral(begin) + ") = 1";
    }
    const std::string end =
        "SELECT pid, pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity "
        "WHERE datname = pg_catalog.current_database() AND usename = current_user "
        "AND application_name = 'livemigrate' AND state = 'active' "
        "AND pid <> pg_catalog.pg_backend_pid() AND (" +
        statements + ")";
    for (int attempt = 1;; attempt++) {
        const pg::SqlResult left = source.Query(end);
        if (left.rows.empty()) {
            return;
        }
        if (attempt == kAttempts) {
            throw Error(sqlstate::kObjectInUse,
                        "process " + pg::Text(left.rows[0], 0) +
                            " of the source, of an earlier attempt, does not end")
                .Detail("It was making a publication.");
        }
        Pause(waiting);
    }
}

void
RunRemoval(source::Connection &source, const std::string &slot, const std::string &statement,
           const source::WaitObserver &waiting) {
    for (int attempt = 1;; attempt++) {
        try {
            source.Query(statement);
            return;
        } catch (const Error &error) {
            if (error.sqlstate() != sqlstate::kObjectInUse || attempt == kAttempts) {
                throw;
            }
        }
        if (attempt >= kPatience) {
            EndUser(source, slot);
        }
        Pause(waiting);
    }
}

} // namespace

std::vector<std::string>
RemovalStatements(const Migration &migration) {
    std::vector<std::string> statements;
    if (migration.slot_sent) {
        statements.push_back("SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM "
                             "pg_catalog.pg_replication_slots WHERE slot_name = " +
                             QuoteLiteral(migration.slot_name) +
                             " AND database = pg_catalog.current_database()");
    }
    if (migration.publications_sent) {
        for (const char *suffix : {"", stage::kInsertsOnlySuffix}) {
            statements.push_back("DROP PUBLICATION IF EXISTS " +
                                 QuoteIdentifier(SlotName(migration.settings.name) + suffix));
        }
    }
    return statements;
}

void
RemoveLeftovers(source::Connection &source, const Migration &migration,
                const source::WaitObserver &waiting) {
    if (migration.publications_sent) {
        EndPublishers(source, migration, waiting);
    }
    for (const std::string &statement : RemovalStatements(migration)) {
        RunRemoval(source, migration.slot_name, statement, waiting);
    }
}

} // namespace livemigrate::control
