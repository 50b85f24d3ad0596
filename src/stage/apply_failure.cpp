#include "pg/prelude.hpp"

#include "stage/apply_failure.hpp"

#include "core/sql_text.hpp"

namespace livemigrate::stage {

namespace {

// "(id)=(5)", as the server's own messages show keys.
std::string
DescribeKey(const RowChange &row) {
    constexpr size_t kLongest = 200;
    const TupleView tuple = row.old_tuple.empty() ? row.new_tuple : row.old_tuple;
    std::string names;
    std::string values;
    for (size_t i = 0; i < tuple.size(); i++) {
        const ColumnValue &value = tuple[i];
        if (!row.relation->columns[i].is_key || value.kind == ValueKind::kAbsent) {
            continue;
        }
        names += (names.empty() ? "" : ", ") + row.relation->columns[i].name;
        values += values.empty() ? "" : ", ";
        values += value.kind == ValueKind::kNull ? "null" : std::string(value.data);
    }
    std::string key = names.empty() ? "" : "(" + names + ")=(" + values + ")";
    if (key.size() > kLongest) {
        const auto length =
            static_cast<size_t>(pg_mbcliplen(key.data(), static_cast<int>(key.size()), kLongest));
        key = key.substr(0, length) + "...";
    }
    return key;
}

} // namespace

void
ApplyFailure::Set(const RemoteRelation &relation, const char *what,
                  const ChangeBatch::Transaction &transaction) {
    *this = {true, relation.schema, relation.name,         what,
             "",   transaction.xid, transaction.commit_lsn};
}

void
ApplyFailure::Set(const char *what, const ChangeBatch::Item &item) {
    Set(*item.row.relation, what, item.transaction);
    key = DescribeKey(item.row);
}

namespace {

// The server's detail for a violated NOT NULL or CHECK is the whole row, which is nobody's business
// who reads logs and events; the row's key is in the context.
bool
ShowsWholeRow(const Error &error) {
    return error.sqlstate() == "23502" || error.sqlstate() == "23514";
}

} // namespace

Error
ApplyFailure::Describe(const Error &error) const {
    const std::string hint =
        "Remove the cause, then run: SELECT livemigrate.migration_resume(); or, to pass over the "
        "whole transaction: SELECT livemigrate.skip_transaction('" +
        commit_lsn.ToString() + "'); SELECT livemigrate.migration_resume();";
    return Error(error.sqlstate(), error.message())
        .Detail(ShowsWholeRow(error) ? "" : error.detail())
        .Hint(error.hint().empty() ? hint : error.hint())
        .Context("applying " + command + " on " + QualifiedName(schema, table) +
                 (key.empty() ? "" : " " + key) + " of source transaction " + std::to_string(xid) +
                 ", which commits at " + commit_lsn.ToString());
}

} // namespace livemigrate::stage
