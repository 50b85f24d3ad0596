#include "pg/prelude.hpp"

#include "stage/publication.hpp"

#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"
#include "source/catalog_query.hpp"

#include <algorithm>
#include <set>

namespace livemigrate::stage {

namespace {

std::string
NameArray(const std::vector<std::string> &names) {
    return QuoteLiteral(TextArrayLiteral(names)) + "::pg_catalog.text[]";
}

std::string
OidArray(const std::vector<uint32_t> &oids) {
    std::string list;
    for (const uint32_t oid : oids) {
        list += (list.empty() ? "" : ",") + std::to_string(oid);
    }
    return "'{" + list + "}'::pg_catalog.oid[]";
}

std::string
CompletenessSql(const PublicationQuestion &question) {
    return "SELECT p.pubname, p.pubinsert AND COALESCE((pg_catalog.to_jsonb(p) ->> 'pubtruncate')::"
           "bool, true) AND (p.pubupdate AND p.pubdelete OR p.pubname = " +
           QuoteLiteral(question.inserts_only) +
           ") AND NOT EXISTS (SELECT FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid "
           "AND r.prrelid = ANY (" +
           OidArray(question.tables) +
           ") AND (pg_catalog.to_jsonb(r) ->> 'prqual' IS NOT NULL OR pg_catalog.to_jsonb(r) ->> "
           "'prattrs' IS NOT NULL)) FROM pg_catalog.pg_publication p WHERE p.pubname = ANY (" +
           NameArray(question.publications) + ")";
}

std::string
UnpublishedSql(const PublicationQuestion &question) {
    return "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n "
           "ON n.oid = c.relnamespace LEFT JOIN pg_catalog.pg_publication_tables t "
           "ON t.schemaname = n.nspname AND t.tablename = c.relname AND t.pubname = ANY (" +
           NameArray(question.publications) + ") WHERE c.oid = ANY (" + OidArray(question.tables) +
           ") AND t.pubname IS NULL ORDER BY n.nspname, c.relname";
}

// Rows of the catalog by age; a row that is put in again is a new one.
std::string
RowsSql(const PublicationQuestion &question, int version) {
    const std::string named = "p.pubname = ANY (" + NameArray(question.publications) + ")";
    std::string rows =
        "SELECT p.xmin AS xid, 'publication ' || pg_catalog.quote_ident(p.pubname) AS what "
        "FROM pg_catalog.pg_publication p WHERE " +
        named +
        " UNION ALL SELECT r.xmin, 'table ' || r.prrelid::pg_catalog.regclass "
        "FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication p "
        "ON p.oid = r.prpubid WHERE " +
        named + " AND r.prrelid = ANY (" + OidArray(question.tables) + ")";
    if (version >= 150000) {
        rows += " UNION ALL SELECT s.xmin, 'schema ' || s.pnnspid::pg_catalog.regnamespace "
                "FROM pg_catalog.pg_publication_namespace s JOIN pg_catalog.pg_publication p "
                "ON p.oid = s.pnpubid WHERE " +
                named;
    }
    const std::string newer =
        question.newest.empty()
            ? "false"
            : "pg_catalog.age(xid) < pg_catalog.age(" + QuoteLiteral(question.newest) + "::xid)";
    return "SELECT (pg_catalog.array_agg(xid::pg_catalog.text ORDER BY pg_catalog.age(xid)))[1], "
           "pg_catalog.array_to_string(pg_catalog.array_agg(DISTINCT what) "
           "FILTER (WHERE " +
           newer + "), E'\\n') FROM (" + rows + ") one";
}

std::vector<std::string>
Lines(const std::string &text) {
    std::vector<std::string> lines;
    for (size_t at = 0; at < text.size();) {
        const size_t end = std::min(text.find('\n', at), text.size());
        lines.push_back(text.substr(at, end - at));
        at = end + 1;
    }
    return lines;
}

} // namespace

PublicationState
ReadPublications(source::Connection &source, const PublicationQuestion &question,
                 const source::WaitObserver &observer) {
    PublicationState state;
    std::set<std::string> found;
    for (const pg::SqlRow &row : source.Query(CompletenessSql(question), observer).rows) {
        found.insert(pg::Text(row, 0));
        if (!pg::Flag(row, 1)) {
            state.reduced.push_back(pg::Text(row, 0));
        }
    }
    std::copy_if(question.publications.begin(), question.publications.end(),
                 std::back_inserter(state.gone),
                 [&](const std::string &name) { return !found.contains(name); });
    for (const pg::SqlRow &row : source.Query(UnpublishedSql(question), observer).rows) {
        state.unpublished.push_back(pg::Number<uint32_t>(row, 0));
    }
    const pg::SqlResult rows = source.Query(RowsSql(question, source.server_version()), observer);
    state.newest = rows.rows.at(0)[0].value_or("");
    state.rewritten = Lines(rows.rows.at(0)[1].value_or(""));
    return state;
}

} // namespace livemigrate::stage
