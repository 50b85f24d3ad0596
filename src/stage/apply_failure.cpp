#include "pg/prelude.hpp"

#include "stage/apply_failure.hpp"

#include "core/sql_text.hpp"

namespace livemigrate::stage {

namespace {

// As much of a key as is worth showing.
std::string
Shorten(const std::string &key) {
    constexpr size_t kLongest = 200;
    if (key.size() <= kLongest) {
        return key;
    }
    const auto length =
        static_cast<size_t>(pg_mbcliplen(key.data(), static_cast<int>(key.size()), kLongest));
    return key.substr(0, length) + "...";
}

} // namespace

void
ApplyFailure::Set(const RemoteRelation &relation, const char *what,
                  const ChangeBatch::Transaction &transaction) {
    *this = {.set = true,
             .schema = relation.schema,
             .table = relation.name,
             .command = what,
             .key = "",
             .xid = transaction.xid,
             .commit_lsn = transaction.commit_lsn,
             .unclear_partition = 0,
             .columns = {}};
}

void
ApplyFailure::Set(const char *what, const ChangeBatch::Item &item, const std::string &row_key) {
    Set(*item.row.relation, what, item.transaction);
    key = Shorten(row_key);
}

const char *
CommandName(ChangeKind kind) {
    switch (kind) {
    case ChangeKind::kInsert:
        return "INSERT";
    case ChangeKind::kUpdate:
        return "UPDATE";
    case ChangeKind::kDelete:
        return "DELETE";
    default:
        return "TRUNCATE";
    }
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
