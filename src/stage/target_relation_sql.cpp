// The statements by which TargetRelation writes changes.
#include "stage/target_relation.hpp"

#include "core/sql_text.hpp"
#include "stage/followed_columns.hpp"

namespace livemigrate::stage {

// Every value that is sent comes through here. A column that is only known, and no longer sent, may
// be missing: wal2json does not say when one is dropped.
std::string
TargetRelation::AddParameter(bool from_old, size_t column,
                             std::vector<Parameter> &parameters) const {
    if (!OidIsValid(columns_[column].type)) {
        const std::string table = QualifiedName(remote_->schema, remote_->name);
        throw Error(sqlstate::kUndefinedColumn, "column " + QuoteIdentifier(columns_[column].name) +
                                                    " of table " + table +
                                                    " does not exist on the target")
            .Detail("The change stream has values for it: the source's table was changed.")
            .Hint("On the target run: ALTER TABLE " + sql_name_ + " ADD COLUMN " +
                  QuoteIdentifier(columns_[column].name) + " " +
                  TypeName(remote_->columns[column]) + "; SELECT livemigrate.migration_resume();");
    }
    parameters.push_back({from_old, static_cast<uint16_t>(column)});
    return "$" + std::to_string(parameters.size());
}

std::string
TargetRelation::InsertSql(const RowChange &change, std::vector<Parameter> &parameters) const {
    std::string names;
    std::string values;
    for (size_t i = 0; i < columns_.size(); i++) {
        if (columns_[i].generated || !IsSent(change.new_tuple[i])) {
            continue;
        }
        names += (names.empty() ? "" : ", ") + QuoteIdentifier(columns_[i].name);
        values += (values.empty() ? "" : ", ") + AddParameter(false, i, parameters);
    }
    const std::string &table = sql_name_;
    if (names.empty()) {
        return "INSERT INTO " + table + " DEFAULT VALUES";
    }
    return "INSERT INTO " + table + " (" + names + ") OVERRIDING SYSTEM VALUE VALUES (" + values +
           ")";
}

// The casts keep the parser from comparing column by column, which not every type can. What Citus
// sends to a shard has lost them, so it gets the operator's function.
std::string
TargetRelation::ImageCondition(const std::string &one, const std::string &other) const {
    return citus_local_ ? "pg_catalog.record_image_eq(" + one + ", " + other + ")"
                        : one + "::pg_catalog.record OPERATOR(pg_catalog.*=) " + other +
                              "::pg_catalog.record";
}

// For replica identity FULL: exactly one of the rows whose image is the old row's.
std::string
TargetRelation::FullCondition(const RowChange &change, std::vector<Parameter> &parameters) const {
    std::string columns;
    std::string values;
    std::string equalities;
    for (size_t i = 0; i < columns_.size(); i++) {
        const ColumnValue &value = change.old_tuple[i];
        if (columns_[i].generated || !IsSent(value)) {
            continue;
        }
        const std::string name = QuoteIdentifier(columns_[i].name);
        const std::string parameter = AddParameter(true, i, parameters);
        columns += (columns.empty() ? "" : ", ") + name;
        values += (values.empty() ? "" : ", ") + parameter;
        // Equality lets an index be used and is quick; the image below decides.
        if (value.kind == ValueKind::kNull) {
            equalities += name + " IS NULL AND ";
        } else if (!columns_[i].equality.empty()) {
            equalities += name + " " + columns_[i].equality + " " + parameter + " AND ";
        }
    }
    const std::string image =
        columns.empty() ? "true" : ImageCondition("ROW(" + columns + ")", "ROW(" + values + ")");
    if (is_hypertable_) {
        return equalities + image; // compressed chunks have no ctid; see KeepOthers()
    }
    const std::string from = " FROM " + target_name_ + " WHERE " + equalities + image + " LIMIT 1)";
    // Rows of several partitions have the same ctid.
    return one_heap_ ? "ctid = (SELECT ctid" + from
                     : "(tableoid, ctid) = (SELECT tableoid, ctid" + from;
}

// wal2json does not say that an identity is FULL, which it may have become while streaming; but
// then the old row is whole, and may be there more than once.
bool
TargetRelation::IsWholeRow(TupleView tuple) const {
    for (size_t i = 0; i < columns_.size(); i++) {
        if (!columns_[i].generated && !IsSent(tuple[i])) {
            return false;
        }
    }
    return true;
}

// Citus's planner takes no row by its place where there are several; there the columns of a key
// that is the whole row are a key like any other.
bool
TargetRelation::NamesWholeRow(const RowChange &change) const {
    return !change.old_tuple.empty() &&
           (change.old_tuple_is_full ||
            ((!distributed_ || citus_local_) && IsWholeRow(change.old_tuple)));
}

// Of a hypertable's rows with the same image, all are taken out, and all but one put back.
std::string
TargetRelation::KeepOthers(const RowChange &change) const {
    if (!is_hypertable_ || !NamesWholeRow(change)) {
        return "";
    }
    std::string names;
    for (const std::string &name : WrittenColumns()) {
        names += (names.empty() ? "" : ", ") + name;
    }
    return ", kept AS (INSERT INTO " + sql_name_ + " (" + names +
           ") OVERRIDING SYSTEM VALUE SELECT " + names + " FROM gone OFFSET 1)";
}

std::vector<std::string>
TargetRelation::WrittenColumns() const {
    std::vector<std::string> names;
    for (const Column &column : columns_) {
        if (!column.generated && OidIsValid(column.type)) {
            names.push_back(QuoteIdentifier(column.name));
        }
    }
    for (const std::string &other : other_columns_) {
        names.push_back(QuoteIdentifier(other));
    }
    return names;
}

std::string
TargetRelation::RowCondition(const RowChange &change, std::vector<Parameter> &parameters) const {
    const bool from_old = !change.old_tuple.empty();
    if (NamesWholeRow(change)) {
        return FullCondition(change, parameters);
    }
    const TupleView tuple = from_old ? change.old_tuple : change.new_tuple;
    std::string condition;
    for (size_t i = 0; i < columns_.size(); i++) {
        if (!remote_->columns[i].is_key || !IsSent(tuple[i])) {
            continue;
        }
        const std::string name = QuoteIdentifier(columns_[i].name);
        condition += condition.empty() ? "" : " AND ";
        if (tuple[i].kind == ValueKind::kNull) {
            condition += name + " IS NULL";
        } else {
            condition += name + " " + (columns_[i].equality.empty() ? "=" : columns_[i].equality) +
                         " " + AddParameter(from_old, i, parameters);
        }
    }
    if (condition.empty()) {
        throw Error(sqlstate::kProtocolViolation, "the change stream has no key for a row of " +
                                                      QualifiedName(remote_->schema, remote_->name))
            .Hint("On the source run: ALTER TABLE " +
                  QualifiedName(remote_->schema, remote_->name) + " REPLICA IDENTITY FULL;");
    }
    return condition;
}

// Whether an update changes a column, as far as the stream tells: of one that UPDATE cannot set (a
// GENERATED ALWAYS identity, or what says where a row is kept), and of the key.
TargetRelation::ColumnState
TargetRelation::StateOf(const RowChange &change, size_t column) const {
    if (change.old_tuple.empty()) {
        return remote_->columns[column].is_key ? ColumnState::kKept : ColumnState::kUnknown;
    }
    const ColumnValue &before = change.old_tuple[column];
    const ColumnValue &after = change.new_tuple[column];
    if (!IsSent(before)) {
        return ColumnState::kUnknown;
    }
    return before.kind == after.kind && before.data == after.data ? ColumnState::kKept
                                                                  : ColumnState::kChanged;
}

// TimescaleDB fails on rows of compressed chunks whose key is set to what it is. In an identity
// FULL any column may have changed or not: that would be too many kinds of statements.
bool
TargetRelation::NeedNotSet(const RowChange &change, size_t column) const {
    const bool is_key = remote_->columns[column].is_key && !change.old_tuple_is_full;
    return (columns_[column].fixed || is_key) && StateOf(change, column) == ColumnState::kKept;
}

bool
TargetRelation::MustReplace(const RowChange &change) const {
    for (size_t i = 0; has_fixed_columns_ && i < columns_.size(); i++) {
        if (columns_[i].fixed && IsSent(change.new_tuple[i]) &&
            StateOf(change, i) == ColumnState::kChanged) {
            return true;
        }
    }
    return false;
}

// Of a fixed column that may have changed, only rows are found that have its new value already; see
// ReplaceSql().
std::string
TargetRelation::UpdateSql(const RowChange &change, std::vector<Parameter> &parameters) const {
    std::string assignments;
    std::string kept;
    for (size_t i = 0; i < columns_.size(); i++) {
        if (columns_[i].generated || !IsSent(change.new_tuple[i]) || NeedNotSet(change, i)) {
            continue;
        }
        const std::string name = QuoteIdentifier(columns_[i].name);
        const std::string parameter = AddParameter(false, i, parameters);
        if (columns_[i].fixed) {
            kept += " AND " + name + " " + columns_[i].equality + " " + parameter;
        } else {
            assignments += (assignments.empty() ? "" : ", ") + name + " = " + parameter;
        }
    }
    const std::string condition = RowCondition(change, parameters) + kept;
    if (assignments.empty()) {
        // Nothing that may be written changed; the row must be there all the same.
        return "SELECT 1 FROM " + target_name_ + " WHERE " + condition;
    }
    return "UPDATE " + target_name_ + " SET " + assignments + " WHERE " + condition;
}

// The update of a row of which a fixed column changes: a GENERATED ALWAYS identity, on the source
// by SET ... = DEFAULT, or what moves the row to another chunk.
std::string
TargetRelation::ReplaceSql(const RowChange &change, std::vector<Parameter> &parameters) const {
    std::string names;
    std::string values;
    auto add = [&](const std::string &name, const std::string &value) {
        names += (names.empty() ? "" : ", ") + name;
        values += (values.empty() ? "" : ", ") + value;
    };
    for (size_t i = 0; i < columns_.size(); i++) {
        const bool sent = IsSent(change.new_tuple[i]);
        if (!columns_[i].generated && (sent || OidIsValid(columns_[i].type))) {
            const std::string name = QuoteIdentifier(columns_[i].name);
            add(name, sent ? AddParameter(false, i, parameters) : "gone." + name);
        }
    }
    for (const std::string &other : other_columns_) {
        add(QuoteIdentifier(other), "gone." + QuoteIdentifier(other));
    }
    const std::string keep = KeepOthers(change);
    return "WITH gone AS (DELETE FROM " + target_name_ + " WHERE " +
           RowCondition(change, parameters) + " RETURNING *)" + keep + " INSERT INTO " + sql_name_ +
           " (" + names + ") OVERRIDING SYSTEM VALUE SELECT " + values + " FROM gone" +
           (keep.empty() ? "" : " LIMIT 1");
}

std::string
TargetRelation::DeleteSql(const RowChange &change, std::vector<Parameter> &parameters) const {
    const std::string sql =
        "DELETE FROM " + target_name_ + " WHERE " + RowCondition(change, parameters);
    const std::string keep = KeepOthers(change);
    return keep.empty()
               ? sql
               : "WITH gone AS (" + sql + " RETURNING *)" + keep + " SELECT FROM gone LIMIT 1";
}

std::string
TargetRelation::Sql(const RowChange &change, Way way, std::vector<Parameter> &parameters) const {
    switch (way) {
    case Way::kReplace:
        return ReplaceSql(change, parameters);
    case Way::kDelete:
        return DeleteSql(change, parameters);
    case Way::kInsert:
        return InsertSql(change, parameters);
    case Way::kPlain:
        break;
    }
    switch (change.kind) {
    case ChangeKind::kInsert:
        return InsertSql(change, parameters);
    case ChangeKind::kUpdate:
        return is_hypertable_ && NamesWholeRow(change) ? ReplaceSql(change, parameters)
                                                       : UpdateSql(change, parameters);
    default:
        return DeleteSql(change, parameters);
    }
}

} // namespace livemigrate::stage
