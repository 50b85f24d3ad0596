#include "stage/managed_table.hpp"

#include "core/error.hpp"
#include "core/sql_text.hpp"
#include "pg/equality_operator.hpp"
#include "pg/guard.hpp"
#include "pg/table_manager.hpp"
#include "stage/chunked_table.hpp"
#include "stage/distributed_table.hpp"

#include <algorithm>
#include <map>

namespace livemigrate::stage {

namespace {

bool
IsSame(const ColumnValue &one, const ColumnValue &other) {
    return one.kind == other.kind && one.data == other.data;
}

// What the catalog says of a column. C-like.
struct Attribute {
    AttrNumber number; // 0 if there is none of the name
    bool not_null;
    char generated;
    char identity;
};

Attribute
FindAttribute(Oid relid, const char *name) {
    const AttrNumber number = get_attnum(relid, name);
    HeapTuple tuple = number > 0 ? SearchSysCacheAttNum(relid, number) : nullptr;
    if (!HeapTupleIsValid(tuple)) {
        return {};
    }
    const auto *form = reinterpret_cast<Form_pg_attribute>(GETSTRUCT(tuple));
    const Attribute found = {number, form->attnotnull, form->attgenerated, form->attidentity};
    ReleaseSysCache(tuple);
    return found;
}

} // namespace

ManagedTable::ManagedTable(Oid relid, const RemoteRelation &remote, const ValueFormat &format)
    : relid_(relid), remote_(remote), format_(format) {
    const auto [schema, name] = pg::NameOf(relid);
    name_ = QualifiedName(schema, name);
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
    if (remote.replica_identity == 'f') {
        return nullptr;
    }
    std::unique_ptr<ManagedTable> table;
    switch (pg::ManagerOf(relid)) {
    case pg::TableManager::kTimescaledb:
        table = std::make_unique<ChunkedTable>(relid, remote, format);
        break;
    case pg::TableManager::kCitus:
        table = std::make_unique<DistributedTable>(relid, remote, format);
        break;
    case pg::TableManager::kNone:
        return nullptr;
    }
    return table->Resolve() ? std::move(table) : nullptr;
}

// False if there is no such column: what that means is said change by change.
bool
ManagedTable::ReadColumn(Column &column, const RemoteColumn &remote) {
    const Attribute found = pg::Call([&] {
        const Attribute attribute = FindAttribute(relid_, remote.name.c_str());
        if (attribute.number > 0) {
            Oid type = InvalidOid;
            int32 type_modifier = -1;
            get_atttypetypmodcoll(relid_, attribute.number, &type, &type_modifier,
                                  &column.collation);
            PrepareInput(column.input, type, type_modifier, remote, remote_.binary, context_);
        }
        return attribute;
    });
    if (found.number == 0) {
        return false;
    }
    column.name = QuoteIdentifier(remote.name);
    column.equality = pg::EqualityOperator(column.input.type);
    column.generated = found.generated != '\0';
    column.not_null = found.not_null;
    column.fixed = found.identity == ATTRIBUTE_IDENTITY_ALWAYS;
    return true;
}

bool
ManagedTable::Resolve() {
    const std::vector<std::string> placement = pg::PlacementColumns(relid_, pg::ManagerOf(relid_));
    for (size_t i = 0; i < remote_.columns.size(); i++) {
        const RemoteColumn &remote = remote_.columns[i];
        Column &column = columns_.emplace_back();
        if (!ReadColumn(column, remote)) {
            return false;
        }
        column.places =
            std::find(placement.begin(), placement.end(), remote.name) != placement.end();
        column.fixed = column.fixed || column.places;
        if ((remote.is_key || column.fixed) && column.equality.empty()) {
            return false;
        }
        if (remote.is_key) {
            key_.push_back(i);
        }
    }
    return true;
}

uint64
ManagedTable::Run(const char *sql, int count, Oid *types, Datum *values, const char *nulls) {
    const int code = SPI_execute_with_args(sql, count, types, values, nulls, false, 0);
    if (code < 0) {
        elog(ERROR, "SPI_execute_with_args: %s", SPI_result_code_string(code));
    }
    return SPI_processed;
}

// Which columns are written: rows for which the same are go into one statement. A key that stays as
// it is need not be.
std::string
ManagedTable::WrittenColumns(const NetEffect::Row &row) const {
    std::string written;
    for (size_t i = 0; i < columns_.size(); i++) {
        const bool is_kept =
            !row.key.empty() && remote_.columns[i].is_key && IsSame(row.key[i], row.values[i]);
        written += IsSent(row.values[i]) && !columns_[i].generated && !is_kept ? '1' : '0';
    }
    return written;
}

std::string
ManagedTable::Add(Statement &statement, bool from_key, size_t column) const {
    statement.sources.push_back({from_key, column});
    return Value(statement, statement.sources.size() - 1);
}

// A column of the table `t` has the value of the rows `r`. One that is no key may have none.
std::string
ManagedTable::Equality(Statement &statement, bool from_key, size_t index) const {
    const Column &column = columns_[index];
    const std::string value = Add(statement, from_key, index);
    const std::string name = "t." + column.name;
    const std::string equality = name + " " + column.equality + " " + value;
    if (!from_key && !column.not_null) {
        return "(" + equality + " OR (" + name + " IS NULL AND " + value + " IS NULL))";
    }
    if (column.places) {
        statement.placed.push_back(statement.sources.size() - 1);
    }
    return equality;
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
    statement.kind = ChangeKind::kDelete;
    statement.before = "DELETE FROM " + name_ + " AS t USING ";
    statement.behind = " WHERE " + KeyCondition(statement);
    return statement;
}

// A fixed column that the key does not have must have its new value already. If it has not, the row
// is not found, and whoever writes change by change moves it. For one of the key see IsMoved().
ManagedTable::Statement
ManagedTable::UpdateStatement(const std::string &written) const {
    Statement statement;
    statement.kind = ChangeKind::kUpdate;
    std::string condition = KeyCondition(statement);
    std::string assignments;
    for (size_t i = 0; i < columns_.size(); i++) {
        const Column &column = columns_[i];
        if (written[i] == '0') {
            continue;
        }
        if (column.fixed) {
            condition += " AND " + Equality(statement, false, i);
        } else {
            assignments +=
                (assignments.empty() ? "" : ", ") + column.name + " = " + Add(statement, false, i);
        }
    }
    // Where nothing may be set, the rows must be there all the same.
    statement.before = assignments.empty()
                           ? "SELECT 1 FROM " + name_ + " AS t, "
                           : "UPDATE " + name_ + " AS t SET " + assignments + " FROM ";
    statement.behind = " WHERE " + condition;
    return statement;
}

ManagedTable::Statement
ManagedTable::InsertStatement(const std::string &written) const {
    Statement statement;
    std::string names;
    std::string values;
    for (size_t i = 0; i < columns_.size(); i++) {
        if (written[i] == '1') {
            names += (names.empty() ? "" : ", ") + columns_[i].name;
            values += (values.empty() ? "" : ", ") + Add(statement, false, i);
        }
    }
    statement.before = "INSERT INTO " + name_ +
                       (names.empty() ? "" : " (" + names + ") OVERRIDING SYSTEM VALUE") +
                       " SELECT " + values + " FROM ";
    return statement;
}

// Which row it is, and whether it only has to move, shows change by change.
void
ManagedTable::ThrowMissing() const {
    throw Error("P0002", "rows to write are not on the target: table " + name_);
}

// Whether an update would have to set a column of the key that cannot be set.
bool
ManagedTable::IsMoved(const NetEffect::Row &row) const {
    return std::any_of(key_.begin(), key_.end(), [&](size_t column) {
        return columns_[column].fixed && IsSent(row.values[column]) &&
               !IsSame(row.key[column], row.values[column]);
    });
}

// As the stream has it: nothing but the columns of the key.
Tuple
ManagedTable::KeyOf(const NetEffect::Row &row) const {
    if (row.key.empty()) {
        return {};
    }
    Tuple key(columns_.size());
    for (const size_t column : key_) {
        key[column] = row.key[column];
    }
    return key;
}

void
ManagedTable::WritePart(const Statement &statement, const Part &part, const RowWriter &write_row) {
    if (part.together) {
        if (Execute(statement, part.rows) != part.rows.size()) {
            ThrowMissing();
        }
        return;
    }
    for (const NetEffect::Row &row : part.rows) {
        const Tuple key = KeyOf(row);
        write_row({.kind = statement.kind,
                   .relation = &remote_,
                   .old_tuple = key,
                   .new_tuple = row.values});
    }
}

// Deletes first, then updates, then inserts: a value that a unique index holds is given up before
// another row takes it. Where that is not enough, the caller goes through the changes in order.
void
ManagedTable::Write(const NetEffect &effect, const RowWriter &write_row) {
    Rows deletes;
    std::map<std::string, Rows> updates;
    std::map<std::string, Rows> inserts;
    effect.ForEachDelete([&](const NetEffect::Row &row) { deletes.push_back(row); });
    effect.ForEachUpdate([&](const NetEffect::Row &row) {
        if (IsMoved(row)) {
            ThrowMissing();
        }
        updates[WrittenColumns(row)].push_back(row);
    });
    effect.ForEachInsert(
        [&](const NetEffect::Row &row) { inserts[WrittenColumns(row)].push_back(row); });
    const auto write = [&](Statement statement, Rows &rows) {
        statement.rows = std::move(rows);
        if (statement.rows.size() < kManyRows) {
            return WritePart(statement, {statement.rows, false}, write_row);
        }
        for (const Part &part : Divide(statement)) {
            WritePart(statement, part, write_row);
        }
    };
    if (!deletes.empty()) {
        write(DeleteStatement(), deletes);
    }
    for (auto &[written, rows] : updates) {
        write(UpdateStatement(written), rows);
    }
    for (auto &[written, rows] : inserts) {
        write(InsertStatement(written), rows);
    }
}

} // namespace livemigrate::stage
