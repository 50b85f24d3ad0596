// Columns that are changed while the migration runs: on the target before the data comes, on the
// source at any time.

#include "pg/prelude.hpp"

#include "control/coordinator.hpp"

#include "control/replaced_tables.hpp"
#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"
#include "pg/transaction.hpp"
#include "source/table_columns.hpp"
#include "stage/apply_lossy_columns.hpp"
#include "stage/column_types.hpp"
#include "stage/followed_columns.hpp"

#include <algorithm>
#include <set>

namespace livemigrate::control {

namespace {

using Clock = std::chrono::steady_clock;
using Kind = ColumnChange::Kind;

constexpr std::chrono::seconds kColumnsInterval{10};
// With many tables it takes long: so much longer is the rest.
constexpr int kRestPerLook = 50;
constexpr std::chrono::seconds kMostColumnsTime{10};
constexpr size_t kMostTables = 20;
constexpr char kResume[] = "SELECT livemigrate.migration_resume();";

bool
IsReplaced(const ColumnChange &change) {
    return change.kind == Kind::kReplaced;
}

std::string
Describe(const ChangedTable &changed) {
    return "table " + QualifiedName(changed.table.schema, changed.table.name) +
           " was changed on the source: " + DescribeColumnChanges(changed.changes);
}

std::vector<std::string>
StatementsFor(source::Connection &source, const ChangedTable &changed) {
    const CopyTable &table = changed.table;
    return StatementsToFollow(QualifiedName(table.target_schema, table.target_name),
                              changed.changes, changed.before,
                              source::DescribeColumns(source, table.schema, table.name));
}

// Apply knows the target's types only, which do not tell what the source has made of a column.
// `before`: as copied. REQUIRES: an open transaction.
void
CheckNumbers(const CopyTable &table, const std::vector<SourceColumn> &before,
             const std::vector<SourceColumn> &now) {
    if (!table.copy_data || table.persistence != 'p') {
        return;
    }
    const auto is_new = [&](const SourceColumn &column) {
        return stage::IsLossyType(column.type_oid) &&
               std::none_of(before.begin(), before.end(), [&](const SourceColumn &old) {
                   return old.name == column.name && old.type_oid == column.type_oid;
               });
    };
    if (std::none_of(now.begin(), now.end(), is_new)) {
        return;
    }
    const pg::SqlResult target = pg::Query("SELECT pg_catalog.to_regclass($1)::pg_catalog.oid",
                                           {QualifiedName(table.target_schema, table.target_name)});
    const auto nullable = stage::NullableColumns(pg::Number<Oid>(target.rows.at(0), 0));
    for (const SourceColumn &column : now) {
        if (is_new(column) && nullable.contains(column.name)) {
            throw stage::LossyColumn(table.schema, table.name, column.name);
        }
    }
}

} // namespace

// Before anything is copied. Who takes a narrower type on purpose is told what it does; where that
// would be seen by nobody, it is not done.
void
Coordinator::CheckColumnTypes() {
    std::set<std::pair<std::string, std::string>> tables; // a root in place of its partitions
    pg::Transaction transaction;
    for (const CopyTable &table : LoadTables(migration_.id)) {
        if (table.copy_data) {
            tables.emplace(table.target_schema, table.target_name);
        }
    }
    std::string first;
    std::string others;
    std::string fixes;
    for (const auto &problem :
         stage::FindColumnTypeProblems(*snapshot_session_, {tables.begin(), tables.end()})) {
        if (problem.kind != TypeFit::Kind::kChanges) {
            RecordEvent(migration_.id, "warning", migration_.stage, problem.message,
                        "To give it the source's type: " + problem.fix);
            continue;
        }
        if (first.empty()) {
            first = problem.message;
        } else {
            others += "\nAlso: " + problem.message + ".";
        }
        fixes += problem.fix + "\n";
    }
    transaction.Commit();
    if (!first.empty()) {
        throw Error(sqlstate::kDatatypeMismatch, first)
            .Detail("Nothing would tell which values were changed, so nothing is copied." + others)
            .Hint(fixes + kResume);
    }
}

std::vector<ChangedTable>
Coordinator::FindChangedTables(source::Connection &source, const source::WaitObserver &observer) {
    const source::ColumnsByTable now = source::ListColumns(source, observer);
    std::vector<ChangedTable> found;
    pg::Transaction transaction;
    const std::map<int32_t, std::vector<SourceColumn>> before = LoadColumns(migration_.id);
    const bool is_lossy =
        stage::LosesNumbers(*migration_.plugin, migration_.wal2json_numeric_option);
    for (const CopyTable &table : LoadTables(migration_.id)) {
        const auto known = before.find(table.id);
        const auto columns = now.find(table.source_oid);
        if (is_lossy && columns != now.end()) {
            CheckNumbers(table, known == before.end() ? std::vector<SourceColumn>() : known->second,
                         columns->second);
        }
        if (known == before.end() || columns == now.end()) {
            continue;
        }
        const std::vector<ColumnChange> changes = FindColumnChanges(known->second, columns->second);
        std::vector<ColumnChange> left =
            changes.empty() ? changes
                            : stage::NotFollowed(table.target_schema, table.target_name, changes);
        if (!left.empty()) {
            found.push_back({table, known->second, columns->second, std::move(left)});
        }
    }
    transaction.Commit();
    return found;
}

// What a target's definition cannot show to be put right is told once, then resuming goes on.
void
Coordinator::ThrowChangedTables(source::Connection &source,
                                const std::vector<ChangedTable> &changed) {
    std::string all;
    std::vector<std::string> statements;
    pg::Transaction transaction;
    for (size_t i = 0; i < changed.size(); i++) {
        const ChangedTable &one = changed[i];
        if (i < kMostTables) {
            all += (all.empty() ? "" : "; ") + Describe(one);
            const std::vector<std::string> own = StatementsFor(source, one);
            statements.insert(statements.end(), own.begin(), own.end());
        }
        if (std::all_of(one.changes.begin(), one.changes.end(), IsReplaced)) {
            SetColumnsOf(migration_.id, one.table.id, one.now);
        }
    }
    transaction.Commit();
    const CopyTable &first = changed.front().table;
    const Error error =
        stage::ColumnsChanged(first.schema, first.name, changed.front().changes, statements);
    throw Error(error.sqlstate(), changed.size() == 1 ? error.message()
                                                      : std::to_string(changed.size()) +
                                                            " tables were changed on the source")
        .Detail(changed.size() == 1 ? error.detail() : all + ". " + error.detail())
        .Hint(error.hint());
}

// Apply meets those that are published too, as one is by FOR ALL TABLES; others nobody would.
void
Coordinator::CheckReplacedTables(source::Connection &source, const source::WaitObserver &observer) {
    const source::TableOids now = source::ListTableOids(source, observer);
    pg::Transaction transaction;
    const std::vector<CopyTable> replaced = FindReplacedTables(LoadTables(migration_.id), now);
    for (const CopyTable &table : replaced) {
        LeaveReplacedTableOut(migration_.id, table);
    }
    transaction.Commit();
    if (!replaced.empty()) {
        throw TablesReplaced(replaced);
    }
}

// At cutover, when everything is applied. The change stream stops at a table that was changed only
// if it has a row for it; wal2json does not tell types at all.
void
Coordinator::CheckColumns(source::Connection &source, const source::WaitObserver &observer) {
    CheckReplacedTables(source, observer);
    const std::vector<ChangedTable> changed = FindChangedTables(source, observer);
    if (!changed.empty()) {
        ThrowChangedTables(source, changed);
    }
}

// So that it is heard of before the cutover. With pgoutput apply stops at the very place; what
// wal2json sends for a column of another type would be brought to the old one.
void
Coordinator::LookForChangedTables(source::Connection &source,
                                  const source::WaitObserver &observer) {
    std::vector<ChangedTable> retyped;
    for (ChangedTable &changed : FindChangedTables(source, observer)) {
        const std::string what = Describe(changed);
        if (announced_changes_.insert(what).second) {
            Event("warning", what,
                  "Apply stops at the first row that the target's table cannot take as it is, and "
                  "says what to do; the cutover makes sure of the others.");
        }
        std::erase_if(changed.changes,
                      [](const ColumnChange &change) { return change.kind != Kind::kRetyped; });
        if (!changed.changes.empty() && migration_.plugin == Plugin::kWal2json) {
            retyped.push_back(std::move(changed));
        }
    }
    if (!retyped.empty()) {
        ThrowChangedTables(source, retyped);
    }
}

void
Coordinator::WatchColumns() {
    const Clock::time_point begin = Clock::now();
    if (!monitor_.is_connected() || begin < next_columns_check_) {
        return;
    }
    next_columns_check_ = begin + kColumnsInterval;
    AskMonitor(kMostColumnsTime, [&](source::Connection &source, const auto &observer) {
        CheckIdentities(source, observer);
        CheckReplacedTables(source, observer);
        LookForChangedTables(source, observer);
    });
    const Clock::time_point end = Clock::now();
    next_columns_check_ =
        end + std::max<Clock::duration>(kColumnsInterval, kRestPerLook * (end - begin));
}

} // namespace livemigrate::control
