// The publications of a migration: how they are made, and that nobody changes them on the source
// while it runs.

#include "pg/prelude.hpp"

#include "control/coordinator.hpp"

#include "control/table_selection.hpp"
#include "core/sql_text.hpp"
#include "pg/transaction.hpp"
#include "source/catalog_query.hpp"
#include "source/published_roots.hpp"
#include "stage/publication.hpp"

#include <algorithm>
#include <set>

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

// Of the partitioned tables, by OID, those that are published with all changes, with which
// partitions to come are; each row arrives under its partition's name, and each partition is listed
// itself, too.
std::set<uint32_t>
RootsToPublish(source::Connection &source, const std::vector<CopyTable> &tables) {
    std::set<uint32_t> roots;
    if (source.server_version() < source::kPublishesRootsVersion ||
        std::none_of(tables.begin(), tables.end(),
                     [](const CopyTable &table) { return table.relkind == 'p'; })) {
        return roots;
    }
    const std::vector<source::SourceTable> all =
        source::ListTables(source, source::TableSizes::kAsCounted);
    std::vector<const source::SourceTable *> pointers;
    for (const source::SourceTable &table : all) {
        pointers.push_back(&table);
    }
    const source::TableByRoot without_identity = source::FindWithoutIdentity(pointers);
    for (const source::SourceTable &table : all) {
        if (table.relkind == 'p' &&
            source::CanPublishRoot(table, without_identity, source.server_version())) {
            roots.insert(table.oid);
        }
    }
    return roots;
}

} // namespace

// Two publications: one for all changes, one without UPDATE and DELETE for tables accepted without
// a replica identity, and for roots whose partitions to come would be without, because the former
// would make the application's updates fail. Of a partition that is in the one and whose root is in
// the other, the source sends what either has.
void
Coordinator::CreatePublications(source::Connection &source, const std::vector<CopyTable> &tables) {
    const std::set<uint32_t> roots = RootsToPublish(source, tables);
    std::string full;
    std::string insert_only;
    for (const CopyTable &table : tables) {
        const bool accepted = IsInsertOnlyAccepted(migration_.settings, table);
        if (table.persistence != 'p' ||
            (table.relkind == 'p' ? source.server_version() < source::kPublishesRootsVersion
                                  : !table.copy_data)) {
            continue;
        }
        const bool inserts = accepted || (table.relkind == 'p' ? !roots.contains(table.source_oid)
                                                               : !table.identity_usable);
        std::string &list = inserts ? insert_only : full;
        list += (list.empty() ? "" : ", ") + std::string("ONLY ") +
                QualifiedName(table.schema, table.name);
    }
    const std::string name = migration_.origin_name;
    // It locks its tables against other changes of their definition.
    const auto show_holders = [&] { ShowLockHolders(PQbackendPID(source.raw())); };
    MarkSent(migration_.publications_sent);
    // The same in both: the source does not send a partition that is in one and whose root is in
    // the other if they differ.
    const std::string generated = source.server_version() >= source::kSendsGeneratedVersion
                                      ? "publish_generated_columns = stored"
                                      : "";
    source.Query(stage::CreatePublicationCommand(name) +
                     (full.empty() ? "" : " FOR TABLE " + full) +
                     (generated.empty() ? "" : " WITH (" + generated + ")"),
                 show_holders);
    publications_made_.push_back(name);
    if (!insert_only.empty()) {
        const std::string truncate = source.server_version() >= 110000 ? ", truncate" : "";
        source.Query(stage::CreatePublicationCommand(name + stage::kInsertsOnlySuffix) +
                         " FOR TABLE " + insert_only + " WITH (publish = 'insert" + truncate + "'" +
                         (generated.empty() ? "" : ", " + generated) + ")",
                     show_holders);
        publications_made_.push_back(name + stage::kInsertsOnlySuffix);
    }
    migration_.publications = publications_made_;
    pg::Transaction transaction;
    SetSlotPlan(migration_);
    transaction.Commit();
}

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
    if (!monitor_.is_connected() || Clock::now() < next_publication_check_) {
        return;
    }
    next_publication_check_ = Clock::now() + kPublicationInterval;
    AskMonitor(kMostPublicationTime, [&](source::Connection &source, const auto &observer) {
        CheckPublications(source, observer);
    });
}

} // namespace livemigrate::control
