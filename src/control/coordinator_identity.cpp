// Tables that lose their replica identity on the source while the migration runs, or never had one.
// wal2json leaves out UPDATE and DELETE of these without a word; with a publication the source
// refuses them.

#include "pg/prelude.hpp"

#include "control/coordinator.hpp"

#include "control/table_selection.hpp"
#include "core/sql_text.hpp"
#include "pg/partition_routing.hpp"
#include "pg/sql_row.hpp"
#include "pg/transaction.hpp"
#include "source/replica_identity.hpp"
#include "stage/routed_identities.hpp"

#include <algorithm>

namespace livemigrate::control {

namespace {

constexpr size_t kMostTables = 20;

// A table that was accepted as it is: rows are only ever inserted, and the cutover makes sure.
bool
IsAccepted(const MigrationSettings &settings, const std::string &schema, const std::string &table) {
    const std::vector<TablePattern> patterns = ParseTablePatterns(settings.insert_only_tables);
    return std::any_of(patterns.begin(), patterns.end(),
                       [&](const TablePattern &pattern) { return pattern.Matches(schema, table); });
}

// One that was created meanwhile. Apply stops at its first row until the target has it.
bool
IsFollowed(const MigrationSettings &settings, const source::TableWithoutIdentity &table) {
    return FilterOf(settings).Selects(table.schema, table.name) &&
           !IsAccepted(settings, table.schema, table.name) &&
           pg::Query("SELECT pg_catalog.to_regclass($1) IS NOT NULL",
                     {QualifiedName(table.schema, table.name)})
                   .Scalar() == "t";
}

void
Record(int32_t migration, const source::TableWithoutIdentity &table) {
    pg::Query(
        "INSERT INTO livemigrate.conflict (migration, kind, schema_name, table_name, message) "
        "SELECT $1::int, 'replica_identity', $2::name, $3::name, 'has no replica identity on "
        "the source: rows that are updated or deleted there are not replicated' "
        "WHERE NOT EXISTS (SELECT FROM livemigrate.conflict c WHERE c.migration = $1::int "
        "AND c.kind = 'replica_identity' AND c.schema_name = $2::name "
        "AND c.table_name = $3::name)",
        {std::to_string(migration), table.schema, table.name});
}

} // namespace

// Before anything is copied. What migration_check has found stops the start: this is for keys that
// are expressions, whose types only the target tells. The changes since the slot was made have the
// old identity, so that nothing but a new start helps.
void
Coordinator::CheckRoutedIdentities() {
    std::map<uint32_t, std::string> routed;
    std::vector<uint32_t> leaves;
    pg::Transaction transaction;
    for (const CopyTable &table : LoadTables(migration_.id)) {
        if (table.copy_data && table.identity_usable && pg::IsRouted(table.schema, table.name) &&
            !IsAccepted(migration_.settings, table.schema, table.name)) {
            routed.emplace(table.source_oid, QualifiedName(table.schema, table.name));
            leaves.push_back(table.source_oid);
        }
    }
    transaction.Commit();
    if (leaves.empty()) {
        return;
    }
    std::string first;
    std::string fix;
    for (const uint32_t oid : stage::FindWithoutPartitionKey(*snapshot_session_, leaves)) {
        const std::string &name = routed.at(oid);
        first = first.empty() ? name : first;
        fix += "ALTER TABLE " + name + " REPLICA IDENTITY FULL; ";
    }
    if (!first.empty()) {
        throw Error(sqlstate::kObjectNotInPrerequisiteState, stage::RoutedWithoutKey(first))
            .Detail("An UPDATE or DELETE that finds several rows stops apply.")
            .Hint("On the source run: " + fix +
                  "then start over: SELECT livemigrate.migration_abort();");
    }
}

// As long as there is such a table the migration does not go on.
void
Coordinator::CheckIdentities(source::Connection &source, const source::WaitObserver &observer) {
    if (migration_.plugin != Plugin::kWal2json) {
        return;
    }
    const std::vector<source::TableWithoutIdentity> without =
        source::ListTablesWithoutIdentity(source, observer);
    if (without.empty()) {
        return;
    }
    pg::Transaction transaction;
    std::map<uint32_t, CopyTable> known;
    for (CopyTable &table : LoadTables(migration_.id)) {
        known.emplace(table.source_oid, std::move(table));
    }
    std::string names;
    std::string fix;
    size_t count = 0;
    for (const source::TableWithoutIdentity &table : without) {
        const auto copied = known.find(table.oid);
        const bool is_lost = copied == known.end()
                                 ? IsFollowed(migration_.settings, table)
                                 : copied->second.copy_data && copied->second.identity_usable;
        if (is_lost) {
            Record(migration_.id, table);
        }
        if (is_lost && ++count <= kMostTables) {
            const std::string name = QualifiedName(table.schema, table.name);
            names += (names.empty() ? "" : ", ") + name;
            fix += "ALTER TABLE " + name + " REPLICA IDENTITY FULL; ";
        }
    }
    transaction.Commit();
    if (count > 0) {
        throw Error(sqlstate::kObjectNotInPrerequisiteState,
                    count == 1
                        ? "table " + names + " has no replica identity on the source"
                        : std::to_string(count) + " tables have no replica identity on the source")
            .Detail((count == 1 ? "" : "They are: " + names + ". ") +
                    std::string("wal2json leaves UPDATE and DELETE of such a table out: those "
                                "since it has none are missing, and the target may differ."))
            .Hint(
                "Run on the source, or give it a primary key: " + fix +
                "then run: SELECT livemigrate.migration_resume(); and before the cutover compare: "
                "SELECT * FROM livemigrate.compare_data();");
    }
}

} // namespace livemigrate::control
