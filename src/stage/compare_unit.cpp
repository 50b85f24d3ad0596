#include "stage/compare_unit.hpp"

#include "core/error.hpp"
#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"
#include "pg/subtransaction.hpp"

#include <algorithm>
#include <map>
#include <optional>

namespace livemigrate::stage {

namespace {

constexpr int kShortestFloatVersion = 120000;

// Up to this many rows, all keys are fetched; of more, only those of buckets that differ.
constexpr int64_t kRowsWithoutBuckets = 20'000;
// Rows to be fetched from the buckets that differ, about; there are 4096 buckets.
constexpr int64_t kFetchedRows = 100'000;
constexpr int64_t kBuckets = 4096;

std::string
Where(const ComparisonUnit &unit, const std::string &pages = "") {
    const std::string &condition = pages.empty() ? unit.condition : pages;
    return condition.empty() ? "" : " WHERE " + condition;
}

std::string
FingerprintQuery(const ComparisonUnit &unit, const std::string &from, const std::string &pages) {
    return "SELECT pg_catalog.count(*), COALESCE(pg_catalog.sum(" + unit.hash + "), 0) FROM " +
           from + Where(unit, pages);
}

// Each row with an id (its key's hash), its key as text, and its hash.
std::string
KeyedRows(const ComparisonUnit &unit, const std::string &from) {
    return "(SELECT pg_catalog.md5(" + (unit.key_image.empty() ? unit.image : unit.key_image) +
           ") AS id, " + unit.key_text + " AS key, " + unit.hash + " AS hash FROM " + from +
           Where(unit) + ") k";
}

std::string
BucketQuery(const ComparisonUnit &unit, const std::string &from) {
    return "SELECT pg_catalog.substr(k.id, 1, 3), pg_catalog.count(*), pg_catalog.sum(k.hash) "
           "FROM " +
           KeyedRows(unit, from) + " GROUP BY 1";
}

std::string
RowsQuery(const ComparisonUnit &unit, const std::string &from,
          const std::vector<std::string> &buckets) {
    return "SELECT k.id, pg_catalog.min(k.key), pg_catalog.count(*), pg_catalog.sum(k.hash) FROM " +
           KeyedRows(unit, from) +
           (buckets.empty() ? ""
                            : " WHERE pg_catalog.substr(k.id, 1, 3) = ANY (" +
                                  QuoteLiteral(TextArrayLiteral(buckets)) + ")") +
           " GROUP BY k.id";
}

// What to run when `role` may not read a table.
std::string
ReadHint(const Error &error, const ComparisonUnit &unit, const std::string &role) {
    if (!error.hint().empty() || error.sqlstate() != sqlstate::kInsufficientPrivilege) {
        return error.hint();
    }
    if (error.message().find("row-level security") != std::string::npos) {
        return "Run as a superuser: ALTER ROLE " + role + " BYPASSRLS;";
    }
    return "Run as the owner: GRANT USAGE ON SCHEMA " + QuoteIdentifier(unit.schema) + " TO " +
           role + "; GRANT SELECT ON " + QualifiedName(unit.schema, unit.name) + " TO " + role +
           ";";
}

// Throws `error` again, naming the table.
[[noreturn]] void
ThrowForTable(const Error &error, const ComparisonUnit &unit, const char *side,
              const std::string &role) {
    const std::string context = error.context().empty() ? "" : error.context() + "\n";
    throw Error(error.sqlstate(), error.message())
        .Detail(error.detail())
        .Hint(ReadHint(error, unit, role))
        .Context(context + "comparing table " + QualifiedName(unit.schema, unit.name) + " on the " +
                 side);
}

// The two sides of a unit, which answer at the same time.
class BothSides {
  public:
    BothSides(source::Connection &source, const ComparisonUnit &unit)
        : source_(source), unit_(unit) {}

    struct Answers {
        std::optional<pg::SqlResult> source;
        std::optional<pg::SqlResult> target;
    };

    // Empty statements are not run.
    Answers
    Ask(const std::string &on_source, const std::string &on_target) {
        Answers answers;
        if (!on_source.empty()) {
            source_.SendQuery(on_source);
        }
        if (!on_target.empty()) {
            try {
                answers.target = pg::Query(on_target);
            } catch (const Error &error) {
                ThrowForTable(error, unit_, "target",
                              QuoteIdentifier(GetUserNameFromId(GetUserId(), true)));
            }
        }
        if (!on_source.empty()) {
            try {
                answers.source = source_.FinishQuery();
            } catch (const Error &error) {
                ThrowForTable(error, unit_, "source", QuoteIdentifier(PQuser(source_.raw())));
            }
        }
        return answers;
    }

  private:
    source::Connection &source_;
    const ComparisonUnit &unit_;
};

std::string
QueryOn(const std::string &from, const std::string &query) {
    return from.empty() ? "" : query;
}

// Buckets of keys whose rows are not the same on both sides, as many as are worth fetching.
std::vector<std::string>
DifferingBuckets(BothSides &sides, const ComparisonUnit &unit, int64_t rows) {
    const auto answers =
        sides.Ask(BucketQuery(unit, unit.source_from), BucketQuery(unit, unit.target_from));
    std::map<std::string, std::string> source;
    for (const pg::SqlRow &row : answers.source->rows) {
        source[pg::Text(row, 0)] = pg::Text(row, 1) + " " + pg::Text(row, 2);
    }
    std::vector<std::string> buckets;
    for (const pg::SqlRow &row : answers.target->rows) {
        const auto found = source.find(pg::Text(row, 0));
        if (found == source.end() || found->second != pg::Text(row, 1) + " " + pg::Text(row, 2)) {
            buckets.push_back(pg::Text(row, 0));
        }
        if (found != source.end()) {
            source.erase(found);
        }
    }
    for (const auto &[bucket, rest] : source) { // the target has none of it
        buckets.push_back(bucket);
    }
    const int64_t worth = std::max<int64_t>(kFetchedRows / (rows / kBuckets + 1), 1);
    buckets.resize(std::min(buckets.size(), static_cast<size_t>(worth)));
    return buckets;
}

std::vector<DifferingRow>
LocateRows(BothSides &sides, const ComparisonUnit &unit, const UnitResult &result,
           size_t max_rows) {
    if (unit.source_from.empty() || unit.target_from.empty() || max_rows == 0) {
        return {};
    }
    std::vector<std::string> buckets;
    const int64_t most = std::max(result.source_rows, result.target_rows);
    if (most > kRowsWithoutBuckets) {
        buckets = DifferingBuckets(sides, unit, most);
    }
    const auto answers = sides.Ask(RowsQuery(unit, unit.source_from, buckets),
                                   RowsQuery(unit, unit.target_from, buckets));
    struct Row {
        std::string key;
        std::string figures;
    };
    std::map<std::string, Row> source;
    for (const pg::SqlRow &row : answers.source->rows) {
        source[pg::Text(row, 0)] = {pg::Text(row, 1), pg::Text(row, 2) + " " + pg::Text(row, 3)};
    }
    std::vector<DifferingRow> found;
    for (const pg::SqlRow &row : answers.target->rows) {
        const auto other = source.find(pg::Text(row, 0));
        if (other == source.end()) {
            found.push_back({pg::Text(row, 1), false, true});
            continue;
        }
        if (other->second.figures != pg::Text(row, 2) + " " + pg::Text(row, 3)) {
            found.push_back({pg::Text(row, 1), true, true});
        }
        source.erase(other);
    }
    for (const auto &[id, row] : source) {
        found.push_back({row.key, true, false});
    }
    std::sort(found.begin(), found.end(), [](const DifferingRow &a, const DifferingRow &b) {
        return std::pair(a.key.size(), a.key) < std::pair(b.key.size(), b.key);
    });
    found.resize(std::min(found.size(), max_rows));
    return found;
}

// Tables, partitions included, whose file is not the one that the snapshot knows: TRUNCATE, ALTER
// TABLE and others leave nothing there for it to see. To be asked when they are locked.
std::string
RewrittenQuery(const ComparisonUnit &unit) {
    return "WITH RECURSIVE r(oid) AS (SELECT " +
           QuoteLiteral(QualifiedName(unit.schema, unit.name)) +
           "::pg_catalog.regclass::pg_catalog.oid UNION SELECT i.inhrelid FROM r JOIN "
           "pg_catalog.pg_inherits i ON i.inhparent = r.oid) SELECT pg_catalog.count(*) FROM r "
           "JOIN pg_catalog.pg_class c ON c.oid = r.oid WHERE c.relkind IN ('r', 'm') AND "
           "c.relfilenode IS DISTINCT FROM pg_catalog.pg_relation_filenode(c.oid)";
}

void
CheckRewritten(BothSides &sides, const ComparisonUnit &unit, UnitResult &result) {
    const auto answers = sides.Ask(QueryOn(unit.source_from, RewrittenQuery(unit)),
                                   QueryOn(unit.target_from, RewrittenQuery(unit)));
    for (const auto *side : {&answers.source, &answers.target}) {
        if (*side && (*side)->Scalar() != "0") {
            result.detail = "The table was rewritten (TRUNCATE, ALTER TABLE, VACUUM FULL or "
                            "CLUSTER) while it was compared: compare it again.";
            return;
        }
    }
}

void
AppendText(std::string &bytes, const std::string &text) {
    bytes += std::to_string(text.size()) + ":" + text;
}

std::string
TakeText(std::string_view &bytes) {
    const size_t colon = bytes.find(':');
    const size_t length = std::stoul(std::string(bytes.substr(0, colon)));
    std::string text(bytes.substr(colon + 1, length));
    bytes.remove_prefix(colon + 1 + length);
    return text;
}

} // namespace

// Sums of 128 bits.
std::string
AddSums(const std::string &a, const std::string &b) {
    if (a.empty() || b.empty()) {
        return a.empty() ? b : a;
    }
    const auto parse = [](const std::string &text) {
        __extension__ using Wide = __int128;
        Wide value = 0;
        for (const char c : text) {
            if (c != '-') {
                value = value * 10 + (c - '0');
            }
        }
        return text[0] == '-' ? -value : value;
    };
    auto sum = parse(a) + parse(b);
    const bool negative = sum < 0;
    std::string text;
    do {
        const auto digit = static_cast<int>(sum % 10);
        text.insert(text.begin(), static_cast<char>('0' + (digit < 0 ? -digit : digit)));
        sum /= 10;
    } while (sum != 0);
    return (negative ? "-" : "") + text;
}

int64_t
AddRows(int64_t a, int64_t b) {
    return b < 0 ? a : std::max<int64_t>(a, 0) + b;
}

std::string
PackUnits(const std::vector<ComparisonUnit> &units) {
    std::string bytes;
    for (const ComparisonUnit &unit : units) {
        for (const std::string &text :
             {std::to_string(unit.table), std::to_string(unit.part), std::to_string(unit.bytes),
              std::to_string(unit.page_units), unit.schema, unit.name, unit.condition,
              unit.source_pages, unit.target_pages, unit.source_from, unit.target_from, unit.image,
              unit.hash, unit.key_image, unit.key_text}) {
            AppendText(bytes, text);
        }
    }
    return bytes;
}

std::vector<ComparisonUnit>
UnpackUnits(std::string_view bytes) {
    std::vector<ComparisonUnit> units;
    while (!bytes.empty()) {
        ComparisonUnit unit;
        unit.table = static_cast<uint32_t>(std::stoul(TakeText(bytes)));
        unit.part = std::stoi(TakeText(bytes));
        unit.bytes = std::stoull(TakeText(bytes));
        unit.page_units = std::stoi(TakeText(bytes));
        for (std::string *text : {&unit.schema, &unit.name, &unit.condition, &unit.source_pages,
                                  &unit.target_pages, &unit.source_from, &unit.target_from,
                                  &unit.image, &unit.hash, &unit.key_image, &unit.key_text}) {
            *text = TakeText(bytes);
        }
        units.push_back(std::move(unit));
    }
    return units;
}

UnitResult
CompareUnit(source::Connection &source, const ComparisonUnit &unit, size_t max_rows,
            bool at_snapshot) {
    UnitResult result;
    BothSides sides(source, unit);
    // Rolled back on both sides, so that the locks of tables do not gather.
    const pg::Subtransaction subtransaction;
    if (at_snapshot) {
        source.Query("SAVEPOINT unit");
    }
    const auto answers = sides.Ask(
        QueryOn(unit.source_from, FingerprintQuery(unit, unit.source_from, unit.source_pages)),
        QueryOn(unit.target_from, FingerprintQuery(unit, unit.target_from, unit.target_pages)));
    if (answers.source) {
        result.source_rows = pg::Number<int64_t>(answers.source->rows.at(0), 0);
        result.source_checksum = pg::Text(answers.source->rows[0], 1);
    }
    if (answers.target) {
        result.target_rows = pg::Number<int64_t>(answers.target->rows.at(0), 0);
        result.target_checksum = pg::Text(answers.target->rows[0], 1);
    }
    if (at_snapshot) {
        CheckRewritten(sides, unit, result);
    }
    if (unit.source_pages.empty() && (result.source_rows != result.target_rows ||
                                      result.source_checksum != result.target_checksum)) {
        result.rows = LocateRows(sides, unit, result, max_rows);
    }
    if (at_snapshot) {
        source.Query("ROLLBACK TO unit");
    }
    return result;
}

source::Connection
OpenComparingSession(const std::string &conninfo, const std::string &snapshot) {
    source::Connection source = source::Connection::Open(conninfo, source::ConnectionKind::kSql);
    source.Query("SET quote_all_identifiers = off");
    if (source.server_version() < kShortestFloatVersion) {
        source.Query("SET extra_float_digits = 0");
    }
    if (source.server_version() >= 110000) {
        source.Query("SET jit = off"); // compiling wide rows costs more than it saves
    }
    source.EndWithClient();
    if (!snapshot.empty()) {
        source.Query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
        source.Query("SET TRANSACTION SNAPSHOT " + QuoteLiteral(snapshot));
    }
    return source;
}

} // namespace livemigrate::stage
