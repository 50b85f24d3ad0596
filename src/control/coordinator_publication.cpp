// Publications that are changed on the source while the migration runs.

#include "pg/prelude.hpp"

#include "control/coordinator.hpp"

#include "core/sql_text.hpp"
#include "pg/transaction.hpp"
#include "stage/publication.hpp"

#include <algorithm>

namespace livemigrate::control {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kPublicationInterval{60};
constexpr std::chrono::seconds kMostPublicationTime{10};
constexpr size_t kMostNames = 20;

std::string
Listed(const std::vector<std::string> &names) {
    std::string list;
    for (size_t i = 0; i < std::min(names.size(), kMostNames); i++) {
        list += (i == 0 ? "" : ", ") + names[i];
    }
    return names.size() > kMostNames
               ? list + " and " + std::to_string(names.size() - kMostNames) + " more"
               : list;
}

bool
IsPublished(const CopyTable &table) {
    return table.persistence == 'p' && table.relkind == 'r' && table.copy_data;
}

[[noreturn]] void
ThrowChanged(const std::string &what, const std::string &fix) {
    throw Error(sqlstate::kObjectNotInPrerequisiteState, what)
        .Detail("What was written to the source while they were not published is not in the change "
                "stream, so the target may differ.")
        .Hint(fix + "SELECT livemigrate.migration_resume(); and before the cutover compare: SELECT "
                    "* FROM livemigrate.compare_data();");
}

} // namespace

stage::PublicationQuestion
Coordinator::AboutPublications(const std::vector<CopyTable> &tables) const {
    stage::PublicationQuestion question;
    question.publications = migration_.publications;
    if (migration_.publications_created) {
        question.inserts_only = migration_.origin_name + stage::kInsertsOnlySuffix;
    }
    for (const CopyTable &table : tables) {
        if (IsPublished(table)) {
            question.tables.push_back(table.source_oid);
        }
    }
    question.newest = migration_.publications_as_of;
    return question;
}

// What they are from now on.
void
Coordinator::RememberPublications(const stage::PublicationState &state) {
    migration_.publications_as_of = state.newest;
    pg::Transaction transaction;
    SetPublicationsAsOf(migration_.id, state.newest);
    for (const std::string &what : state.rewritten) {
        RecordEvent(migration_.id, "warning", migration_.stage,
                    what + " was published anew on the source");
    }
    transaction.Commit();
}

// What is wrong must be put right; what was put right is told once, then resuming goes on.
void
Coordinator::CheckPublications(source::Connection &source, const source::WaitObserver &observer) {
    if (migration_.plugin != Plugin::kPgoutput) {
        return;
    }
    std::vector<CopyTable> tables;
    {
        pg::Transaction transaction;
        tables = LoadTables(migration_.id);
        transaction.Commit();
    }
    const stage::PublicationState state =
        stage::ReadPublications(source, AboutPublications(tables), observer);
    if (!state.gone.empty()) {
        throw Error(sqlstate::kUndefinedObject,
                    "publication " + QuoteIdentifier(state.gone[0]) + " is gone from the source")
            .Detail("Without it the source sends no changes, and it cannot send those from before "
                    "it is made again.")
            .Hint("Start over: SELECT livemigrate.migration_abort(" +
                  QuoteLiteral(migration_.settings.name) + ");");
    }
    if (!state.reduced.empty()) {
        const std::string name = QuoteIdentifier(state.reduced[0]);
        const bool inserts = state.reduced[0] == migration_.origin_name + stage::kInsertsOnlySuffix;
        ThrowChanged("publication " + name + " no longer sends every change",
                     "Run on the source: ALTER PUBLICATION " + name + " SET (publish = 'insert" +
                         (inserts ? "" : ", update, delete") +
                         (source.server_version() >= 110000 ? ", truncate" : "") +
                         "'); and take row filters and column lists away; then run: ");
    }
    if (!state.unpublished.empty()) {
        ThrowUnpublished(tables, state.unpublished);
    }
    const bool is_first = migration_.publications_as_of.empty();
    if (is_first || state.rewritten.empty()) {
        if (is_first) {
            RememberPublications(state);
        }
        return;
    }
    RememberPublications(state);
    ThrowChanged("publications were changed on the source: " + Listed(state.rewritten), "");
}

void
Coordinator::ThrowUnpublished(const std::vector<CopyTable> &tables,
                              const std::vector<uint32_t> &unpublished) {
    std::vector<std::string> names;
    std::string fix;
    for (const CopyTable &table : tables) {
        if (std::find(unpublished.begin(), unpublished.end(), table.source_oid) ==
            unpublished.end()) {
            continue;
        }
        const std::string name = QualifiedName(table.schema, table.name);
        names.push_back(name);
        const bool inserts = migration_.publications.size() > 1 && !table.identity_usable;
        if (names.size() <= kMostNames) {
            fix += "ALTER PUBLICATION " + QuoteIdentifier(migration_.publications[inserts]) +
                   " ADD TABLE ONLY " + name + "; ";
        }
    }
    ThrowChanged("tables are no longer published on the source: " + Listed(names),
                 "Run on the source: " + fix + "then run: ");
}

// Now and then, so that it is not heard of at the cutover only, which checks it, too.
void
Coordinator::WatchPublications() {
    if (!monitor_ || Clock::now() < next_publication_check_) {
        return;
    }
    next_publication_check_ = Clock::now() + kPublicationInterval;
    AskMonitor(kMostPublicationTime, [&](source::Connection &source, const auto &observer) {
        CheckPublications(source, observer);
    });
}

} // namespace livemigrate::control
