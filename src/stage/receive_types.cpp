#include "pg/prelude.hpp"

#include "stage/receive_types.hpp"

#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/portable_type.hpp"
#include "pg/sql_row.hpp"

namespace livemigrate::stage {

namespace {

// OIDs below are given to the same types by every server (PostgreSQL's access/transam.h).
constexpr uint32_t kFirstVaryingOid = FirstGenbkiObjectId;

// Each type with what it is made of, if it is a domain.
constexpr const char kTypes[] = R"(
WITH RECURSIVE made_of AS (
    SELECT oid AS type, oid AS base FROM pg_catalog.pg_type
    WHERE oid < 10000 OR typtype IN ('d', 'e')
    UNION ALL
    SELECT m.type, t.typbasetype FROM made_of m
    JOIN pg_catalog.pg_type t ON t.oid = m.base WHERE t.typtype = 'd')
SELECT m.type, m.base, CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE 0 END, t.typtype
FROM made_of m JOIN pg_catalog.pg_type t ON t.oid = m.base WHERE t.typtype <> 'd'
)";

WireTypes::ByOid
ListTypes(source::Connection &source) {
    WireTypes::ByOid types;
    for (const pg::SqlRow &row : source.Query(kTypes).rows) {
        const auto base = pg::Number<uint32_t>(row, 1);
        const auto element = pg::Number<uint32_t>(row, 2);
        if (pg::Text(row, 3).at(0) == TYPTYPE_ENUM) {
            types[pg::Number<uint32_t>(row, 0)] = ANYENUMOID;
        } else if (base < kFirstVaryingOid &&
                   pg::HasPortableBinaryForm(base, element, source.server_version())) {
            types[pg::Number<uint32_t>(row, 0)] = base;
        }
    }
    return types;
}

// One column of each type that is published.
pg::SqlResult
ListPublished(source::Connection &source, const std::vector<std::string> &publications) {
    std::string names;
    for (const std::string &publication : publications) {
        names += (names.empty() ? "" : ", ") + QuoteLiteral(publication);
    }
    return source.Query(
        "SELECT DISTINCT ON (a.atttypid) a.atttypid, a.attname, c.relname, "
        "pg_catalog.format_type(a.atttypid, NULL) "
        "FROM pg_catalog.pg_publication_tables p "
        "JOIN pg_catalog.pg_namespace n ON n.nspname = p.schemaname "
        "JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename "
        "JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 "
        "AND NOT a.attisdropped AND a.attgenerated = '' WHERE p.pubname IN (" +
        names + ")");
}

} // namespace

std::optional<WireTypes>
TypesForBinary(source::Connection &source, const std::vector<std::string> &publications) {
    WireTypes::ByOid types = ListTypes(source);
    for (const pg::SqlRow &row : ListPublished(source, publications).rows) {
        if (types.contains(pg::Number<uint32_t>(row, 0))) {
            continue;
        }
        const std::string column = pg::Text(row, 1);
        const std::string table = pg::Text(row, 2);
        const std::string type = pg::Text(row, 3);
        pg::Call([&] {
            ereport(LOG, (errmsg("changes are received as text"),
                          errdetail("Column \"%s\" of table \"%s\" has type %s, whose binary form "
                                    "need not be the same on both servers.",
                                    column.c_str(), table.c_str(), type.c_str())));
        });
        return std::nullopt;
    }
    return WireTypes(std::move(types));
}

void
LogUnknownType(const WireTypes::Unknown &unknown) {
    pg::Call([&] {
        ereport(LOG, (errmsg("changes are received as text from now on"),
                      errdetail("Column \"%s\" of table \"%s\" has the source's type %u, of which "
                                "nothing is known.",
                                unknown.column.c_str(), unknown.relation.c_str(), unknown.type)));
    });
}

} // namespace livemigrate::stage
