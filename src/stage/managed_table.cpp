#include "stage/managed_table.hpp"

#include "core/error.hpp"
#include "core/sql_text.hpp"
#include "pg/equality_operator.hpp"
#include "pg/guard.hpp"
#include "pg/local_settings.hpp"
#include "pg/row_set.hpp"
#include "pg/table_manager.hpp"

#include <algorithm>

namespace livemigrate::stage {

namespace {

// Types of placement columns whose values are integers inside, so that a batch's least and greatest
// are found without their operators.
bool
IsOrdered(Oid type) {
    return type == TIMESTAMPTZOID || type == TIMESTAMPOID || type == DATEOID || type == INT8OID ||
           type == INT4OID || type == INT2OID;
}

int64
OrderOf(Oid type, Datum value) {
    switch (type) {
    case INT2OID:
        return DatumGetInt16(value);
    case INT4OID:
    case DATEOID:
        return DatumGetInt32(value);
    default:
        return DatumGetInt64(value);
    }
}

// Which of the values are sent: rows for which the same are go into one statement.
std::string
SentColumns(TupleView values) {
    std::string sent;
    for (const ColumnValue &value : values) {
        sent += IsSent(value) ? '1' : '0';
    }
    return sent;
}

} // namespace

struct ManagedTable::Statement {
    struct Source {
        bool from_key = false;
        size_t column = 0;
    };

    std::string sql;
    std::vector<Source> sources; // of the row set's columns
    std::vector<size_t> bounds;  // the sources whose least and greatest value are parameters

    // The column of the row set that has this.
    std::string
    Add(bool from_key, size_t column) {
        sources.push_back({from_key, column});
        return "r.s" + std::to_string(sources.size() - 1);
    }
};

ManagedTable::ManagedTable(const RemoteRelation &remote, const ValueFormat &format)
    : remote_(remote), format_(format), name_(QualifiedName(remote.schema, remote.name)) {
    context_ = pg::Call([] {
        return AllocSetContextCreate(TopMemoryContext, "livemigrate managed table",
                                     ALLOCSET_SMALL_SIZES);
    });
}

ManagedTable::~ManagedTable() {
    MemoryContextDelete(context_);
}

std::unique_ptr<ManagedTable>
ManagedTable::Open(Oid relid, const RemoteRelation &remote, const ValueFormat &format) {
    if (remote.replica_identity == 'f' || pg::ManagerOf(relid) != pg::TableManager::kTimescaledb) {
        return nullptr;
    }
    std::unique_ptr<ManagedTable> table(new ManagedTable(remote, format));
    return table->Resolve(relid) ? std::move(table) : nullptr;
}

void
ManagedTable::ReadColumn(Column &column, Oid relid, AttrNumber attribute,
                         const RemoteColumn &remote) {
    pg::Call([&] {
        Oid type = InvalidOid;
        int32 type_modifier = -1;
        get_atttypetypmodcoll(relid, attribute, &type, &type_modifier, &column.collation);
        PrepareInput(column.input, type, type_modifier, remote, remote_.binary, context_);
    });
    column.equality = pg::EqualityOperator(column.input.type);
}

bool
ManagedTable::Resolve(Oid relid) {
    const std::vector<std::string> placement =
        pg::PlacementColumns(relid, pg::TableManager::kTimescaledb);
    for (size_t i = 0; i < remote_.columns.size(); i++) {
        const RemoteColumn &remote = remote_.columns[i];
        Column &column = columns_.emplace_back();
        column.name = QuoteIdentifier(remote.name);
        struct Found {
            AttrNumber number;
            char generated;
            char identity;
        };
        const Found found = pg::Call([&]() -> Found {
            const AttrNumber number = get_attnum(relid, remote.name.c_str());
            if (number <= 0) {
                return {0, '\0', '\0'};
            }
            HeapTuple tuple = SearchSysCacheAttNum(relid, number);
            if (!HeapTupleIsValid(tuple)) {
                return {0, '\0', '\0'};
            }
            const auto *form = reinterpret_cast<Form_pg_attribute>(GETSTRUCT(tuple));
            const Found result = {number, form->attgenerated, form->attidentity};
            ReleaseSysCache(tuple);
            return result;
        });
        if (found.number == 0) {
            return false; // what that means is said change by change
        }
        ReadColumn(column, relid, found.number, remote);
        const bool places =
            std::find(placement.begin(), placement.end(), remote.name) != placement.end();
        column.generated = found.generated != '\0';
        column.fixed = places || found.identity == ATTRIBUTE_IDENTITY_ALWAYS;
        column.ordered = places && IsOrdered(column.input.type);
        if ((remote.is_key || column.fixed) && column.equality.empty()) {
            return false;
        }
        if (remote.is_key) {
            key_.push_back(i);
        }
    }
    return true;
}

// A column of the table `t` has the value of the row set `r`. The range of these values in the
// batch lets the planner leave chunks out.
std::string
ManagedTable::Equality(Statement &statement, bool from_key, size_t index) const {
    const Column &column = columns_[index];
    std::string condition =
        "t." + column.name + " " + column.equality + " " + statement.Add(from_key, index);
    if (column.ordered) {
        const size_t parameter = 2 * statement.bounds.size();
        condition += " AND t." + column.name + " OPERATOR(pg_catalog.>=) $" +
                     std::to_string(parameter + 1) + " AND t." + column.name +
                     " OPERATOR(pg_catalog.<=) $" + std::to_string(parameter + 2);
        statement.bounds.push_back(statement.sources.size() - 1);
    }
    return condition;
}

std::string
ManagedTable::KeyCondition(Statement &statement) const {
    std::string condition;
    for (const size_t column : key_) {
        condition += (condition.empty() ? "" : " AND ") + Equality(statement, true, column);
    }
    return condition;
}

ManagedTable::Statement
ManagedTable::DeleteStatement() const {
    Statement statement;
    statement.sql = "DELETE FROM " + name_ + " AS t USING " + pg::kRowSetName + " AS r WHERE ";
    statement.sql += KeyCondition(statement);
    return statement;
}

// A fixed column that the key does not have must have its new value already. If it has not, the row
// is not found, and whoever writes change by change moves it. For one of the key see IsMoved().
ManagedTable::Statement
ManagedTable::UpdateStatement(const std::string &sent) const {
    Statement statement;
    std::string condition = KeyCondition(statement);
    std::string assignments;
    for (size_t i = 0; i < columns_.size(); i++) {
        const Column &column = columns_[i];
        if (column.generated || sent[i] == '0' || (column.fixed && remote_.columns[i].is_key)) {
            continue;
        }
        if (column.fixed) {
            condition += " AND " + Equality(statement, false, i);
        } else {
            assignments +=
                (assignments.empty() ? "" : ", ") + column.name + " = " + statement.Add(false, i);
        }
    }
    const std::string rows = std::string(pg::kRowSetName) + " AS r";
    // Where nothing may be set, the rows must be there all the same.
    statement.sql = assignments.empty()
                        ? "SELECT FROM " + name_ + " AS t, " + rows
                        : "UPDATE " + name_ + " AS t SET " + assignments + " FROM " + rows;
    statement.sql += " WHERE " + condition;
    return statement;
}

ManagedTable::Statement
ManagedTable::InsertStatement(const std::string &sent) const {
    Statement statement;
    std::string names;
    std::string values;
    for (size_t i = 0; i < columns_.size(); i++) {
        if (!columns_[i].generated && sent[i] == '1') {
            names += (names.empty() ? "" : ", ") + columns_[i].name;
            values += (values.empty() ? "" : ", ") + statement.Add(false, i);
        }
    }
    statement.sql = "INSERT INTO " + name_ +
                    (names.empty() ? "" : " (" + names + ") OVERRIDING SYSTEM VALUE") + " SELECT " +
                    values + " FROM " + pg::kRowSetName + " AS r";
    return statement;
}

namespace {

// The least and greatest value of a column of the row set, as parameters of a statement. C-like.
struct Bounds {
    Datum *values;
    char *nulls;
    Oid *types;
};

void
Widen(const Bounds &bounds, size_t bound, Oid type, Datum value) {
    Datum *least = &bounds.values[2 * bound];
    if (bounds.nulls[2 * bound] == 'n') {
        bounds.nulls[2 * bound] = bounds.nulls[2 * bound + 1] = ' ';
        least[0] = least[1] = value;
        return;
    }
    if (OrderOf(type, value) < OrderOf(type, least[0])) {
        least[0] = value;
    }
    if (OrderOf(type, value) > OrderOf(type, least[1])) {
        least[1] = value;
    }
}

} // namespace

// Which row it is, and whether it only has to move, shows change by change.
void
ManagedTable::ThrowMissing() const {
    throw Error("P0002", "rows to write are not on the target: table " + name_);
}

void
ManagedTable::Run(Statement &statement, const std::vector<NetEffect::Row> &rows) {
    std::vector<std::string> names;
    std::vector<pg::RowSetColumn> set_columns;
    names.reserve(statement.sources.size());
    for (const Statement::Source &source : statement.sources) {
        const Column &column = columns_[source.column];
        names.push_back("s" + std::to_string(names.size()));
        set_columns.push_back({names.back().c_str(), column.input.type, column.input.type_modifier,
                               column.collation});
    }
    // Rows are found through an index, for each its own: a chunk may be far larger than the batch.
    const pg::LocalSettings settings({{"enable_hashjoin", "off"}, {"enable_mergejoin", "off"}});
    const uint64 processed = pg::Call([&]() -> uint64 {
        SPI_connect();
        PushActiveSnapshot(GetTransactionSnapshot());
        const size_t count = statement.sources.size();
        const size_t parameters = 2 * statement.bounds.size();
        pg::RowSet *set = pg::MakeRowSet(set_columns.data(), static_cast<int>(count));
        auto *values = static_cast<Datum *>(palloc0(sizeof(Datum) * (count + 1)));
        auto *nulls = static_cast<bool *>(palloc0(sizeof(bool) * (count + 1)));
        Bounds bounds = {static_cast<Datum *>(palloc0(sizeof(Datum) * (parameters + 1))),
                         static_cast<char *>(palloc(parameters + 1)),
                         static_cast<Oid *>(palloc0(sizeof(Oid) * (parameters + 1)))};
        memset(bounds.nulls, 'n', parameters);
        const MemoryContext row_context =
            AllocSetContextCreate(CurrentMemoryContext, "livemigrate row", ALLOCSET_DEFAULT_SIZES);
        for (const NetEffect::Row &row : rows) {
            CHECK_FOR_INTERRUPTS();
            const MemoryContext outer = MemoryContextSwitchTo(row_context);
            for (size_t i = 0; i < count; i++) {
                const Statement::Source &source = statement.sources[i];
                const ColumnValue &value =
                    source.from_key ? row.key[source.column] : row.values[source.column];
                values[i] = ReadValue(columns_[source.column].input, value, format_);
                nulls[i] = value.kind == ValueKind::kNull;
            }
            for (size_t i = 0; i < statement.bounds.size(); i++) {
                const size_t source = statement.bounds[i];
                if (!nulls[source]) {
                    Widen(bounds, i, set_columns[source].type, values[source]);
                }
            }
            pg::PutRow(set, values, nulls);
            MemoryContextSwitchTo(outer);
            MemoryContextReset(row_context);
        }
        for (size_t i = 0; i < parameters; i++) {
            bounds.types[i] = set_columns[statement.bounds[i / 2]].type;
        }
        const int code = SPI_execute_with_args(statement.sql.c_str(), static_cast<int>(parameters),
                                               bounds.types, bounds.values, bounds.nulls, false, 0);
        if (code < 0) {
            elog(ERROR, "SPI_execute_with_args: %s", SPI_result_code_string(code));
        }
        const uint64 result = SPI_processed;
        PopActiveSnapshot();
        SPI_finish();
        return result;
    });
    if (processed != rows.size()) {
        ThrowMissing();
    }
}

// Whether an update would have to set a column of the key that cannot be set.
bool
ManagedTable::IsMoved(const NetEffect::Row &row) const {
    return std::any_of(key_.begin(), key_.end(), [&](size_t column) {
        return columns_[column].fixed && IsSent(row.values[column]) &&
               row.key[column].data != row.values[column].data;
    });
}

// Deletes first, then updates, then inserts: a value that a unique index holds is given up before
// another row takes it. Where that is not enough, the caller goes through the changes in order.
void
ManagedTable::Write(const NetEffect &effect) {
    using Rows = std::vector<NetEffect::Row>;
    Rows deletes;
    std::map<std::string, Rows> updates;
    std::map<std::string, Rows> inserts;
    effect.ForEachDelete([&](const NetEffect::Row &row) { deletes.push_back(row); });
    effect.ForEachUpdate([&](const NetEffect::Row &row) {
        if (IsMoved(row)) {
            ThrowMissing();
        }
        updates[SentColumns(row.values)].push_back(row);
    });
    effect.ForEachInsert(
        [&](const NetEffect::Row &row) { inserts[SentColumns(row.values)].push_back(row); });
    if (!deletes.empty()) {
        Statement statement = DeleteStatement();
        Run(statement, deletes);
    }
    for (const auto &[sent, rows] : updates) {
        Statement statement = UpdateStatement(sent);
        Run(statement, rows);
    }
    for (const auto &[sent, rows] : inserts) {
        Statement statement = InsertStatement(sent);
        Run(statement, rows);
    }
}

} // namespace livemigrate::stage
