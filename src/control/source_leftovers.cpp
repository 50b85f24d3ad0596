#include "control/source_leftovers.hpp"

#include "core/sql_text.hpp"
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
        if (waiting) {
            waiting();
        }
        pg::SleepOnLatch(kPause);
    }
}

} // namespace livemigrate::control
