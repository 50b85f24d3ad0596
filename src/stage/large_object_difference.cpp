#include "pg/prelude.hpp"

#include "stage/large_object_difference.hpp"

#include "core/error.hpp"
#include "pg/sql_row.hpp"
#include "pg/subtransaction.hpp"
#include "pg/time_limit.hpp"

#include <map>

namespace livemigrate::stage {

namespace {

using std::chrono::milliseconds;

// A value holds less than a gigabyte: of a longer object, the second half of that is compared by
// its length only.
constexpr char kContentsQuery[] =
    "SELECT m.oid, pg_catalog.md5(pg_catalog.lo_get(m.oid, 0, 536870912)), "
    "pg_catalog.octet_length(pg_catalog.lo_get(m.oid, 536870912, 536870912)) "
    "FROM pg_catalog.pg_largeobject_metadata m";

using Contents = std::map<uint32_t, std::string>;

Contents
ToContents(const pg::SqlResult &result) {
    Contents contents;
    for (const pg::SqlRow &row : result.rows) {
        contents[pg::Number<uint32_t>(row, 0)] = pg::Text(row, 1) + " " + pg::Text(row, 2);
    }
    return contents;
}

LargeObjectDifference
Difference(const Contents &source, const Contents &target) {
    LargeObjectDifference difference;
    for (const auto &[oid, contents] : source) {
        const auto found = target.find(oid);
        if (found == target.end()) {
            difference.missing.push_back(oid);
        } else if (found->second != contents) {
            difference.changed.push_back(oid);
        }
    }
    for (const auto &[oid, contents] : target) {
        if (!source.contains(oid)) {
            difference.extra.push_back(oid);
        }
    }
    return difference;
}

} // namespace

std::optional<LargeObjectDifference>
CompareLargeObjects(source::Connection &source, std::optional<milliseconds> limit) {
    if (limit && limit->count() == 0) {
        return std::nullopt;
    }
    std::optional<pg::TimeLimit> clock;
    try {
        const pg::Subtransaction subtransaction;
        if (limit) {
            clock.emplace(*limit);
        }
        const Contents ours = ToContents(pg::Query(kContentsQuery));
        clock.reset();
        return Difference(ToContents(source.Query(kContentsQuery)), ours);
    } catch (const Error &error) {
        if (error.sqlstate() != sqlstate::kQueryCanceled || !limit) {
            throw;
        }
        return std::nullopt; // our clock, or the source's statement_timeout
    }
}

std::string
OidArrayText(const std::vector<uint32_t> &oids) {
    std::string text;
    for (const uint32_t oid : oids) {
        text += (text.empty() ? "" : ",") + std::to_string(oid);
    }
    return "{" + text + "}";
}

} // namespace livemigrate::stage
