// Checks of the columns that place the rows of a hypertable of option `hypertables`, and of its
// chunks' length: what create_hypertable refuses, or takes for something else than was meant.
#include "pg/prelude.hpp"

#include "stage/preflight_run.hpp"

#include "core/sql_text.hpp"
#include "core/version.hpp"
#include "pg/sql_row.hpp"
#include "stage/setting.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace livemigrate::stage {

namespace {

// From this version on chunks of an integer time have a default length.
constexpr char kDefaultIntegerInterval[] = "2.13.0";

// A type of a time column; chunks of an integer are counted in numbers up to the largest.
struct TimeType {
    std::string_view name;
    int64_t largest = 0;
};

constexpr std::array<TimeType, 6> kTimeTypes{{{"timestamptz"},
                                              {"timestamp"},
                                              {"date"},
                                              {"int2", PG_INT16_MAX},
                                              {"int4", PG_INT32_MAX},
                                              {"int8", PG_INT64_MAX}}};

const TimeType *
FindTimeType(const std::string &name) {
    const auto *const found = std::find_if(kTimeTypes.begin(), kTimeTypes.end(),
                                           [&](const TimeType &type) { return type.name == name; });
    return found == kTimeTypes.end() ? nullptr : found;
}

// Whether all that the column's type is made of has a hash, as the server looks for it: of its own,
// or of a type that it is read as. Enums, ranges, arrays and rows have one if their parts have.
constexpr char kDescribeColumn[] = R"sql(
WITH RECURSIVE part(oid) AS (
    SELECT a.atttypid FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = %table% AND a.attname = %column%
    UNION
    SELECT CASE t.typtype WHEN 'd' THEN t.typbasetype
                          WHEN 'r' THEN (SELECT r.rngsubtype FROM pg_catalog.pg_range r
                                         WHERE r.rngtypid = t.oid)
                          ELSE t.typelem END
    FROM part JOIN pg_catalog.pg_type t ON t.oid = part.oid
    WHERE t.typtype IN ('d', 'r') OR t.typcategory = 'A')
SELECT a.attnotnull, t.typname,
       COALESCE(pg_catalog.to_jsonb(a) ->> 'attgenerated', '') <> '',
       NOT EXISTS (
           SELECT FROM part JOIN pg_catalog.pg_type p ON p.oid = part.oid
           WHERE p.typtype = 'b' AND p.typcategory <> 'A' AND NOT EXISTS (
               SELECT FROM pg_catalog.pg_opclass o
               JOIN pg_catalog.pg_am m ON m.oid = o.opcmethod
               WHERE m.amname = 'hash' AND o.opcdefault
                 AND (o.opcintype = p.oid OR EXISTS (
                      SELECT FROM pg_catalog.pg_cast c
                      WHERE c.castsource = p.oid AND c.casttarget = o.opcintype
                        AND c.castmethod = 'b' AND c.castcontext = 'i'))))
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = %table% AND a.attname = %column% AND a.attnum > 0 AND NOT a.attisdropped
)sql";

struct PlacingColumn {
    std::string name;
    std::string type;
    bool not_null = false;
    bool generated = false;
    bool has_hash = false;
};

class ColumnChecks {
  public:
    ColumnChecks(PreflightRun &run, const HypertableOption &option,
                 const source::SourceTable &table, std::string timescaledb)
        : run_(run), option_(option), table_(TableName(table)), oid_(std::to_string(table.oid)),
          timescaledb_(std::move(timescaledb)) {}

    bool
    Run() {
        const auto time = Describe(option_.time_column);
        const bool time_fits = time && CheckTime(*time);
        if (option_.partition_column.empty()) {
            return time_fits;
        }
        const auto partition = Describe(option_.partition_column);
        return partition && CheckPartition(*partition) && time_fits;
    }

  private:
    std::optional<PlacingColumn> Describe(const std::string &name);
    bool CheckTime(const PlacingColumn &column);
    bool CheckInterval(const PlacingColumn &column, const TimeType &type);
    bool CheckNumber(const PlacingColumn &column, const TimeType &type);
    bool CheckLength(const PlacingColumn &column);
    bool CheckPartition(const PlacingColumn &column);

    bool
    Refuse(std::string_view sqlstate, const std::string &message, const std::string &fix) {
        run_.Fail("hypertables", sqlstate, table_, message, fix);
        return false;
    }
    bool
    RefuseValue(const std::string &message, const std::string &fix) {
        return Refuse(sqlstate::kInvalidParameterValue, message, fix);
    }
    std::string
    Interval() const {
        return "chunk_interval " + QuoteLiteral(option_.chunk_interval) + " of table " + table_;
    }

    PreflightRun &run_;
    const HypertableOption &option_;
    const std::string table_;
    const std::string oid_;
    const std::string timescaledb_; // its version
};

std::optional<PlacingColumn>
ColumnChecks::Describe(const std::string &name) {
    std::string sql = kDescribeColumn;
    for (const auto &[place, value] : {std::pair<std::string_view, std::string>{"%table%", oid_},
                                       {"%column%", QuoteLiteral(name)}}) {
        for (size_t at = sql.find(place); at != std::string::npos;
             at = sql.find(place, at + value.size())) {
            sql.replace(at, place.size(), value);
        }
    }
    const pg::SqlResult found = run_.source.Query(sql);
    if (found.rows.empty()) {
        Refuse(sqlstate::kUndefinedColumn,
               "table " + table_ + " has no column " + QuoteIdentifier(name) +
                   ", which option \"hypertables\" names",
               "-- name columns as they are written in the catalog");
        return {};
    }
    const pg::SqlRow &row = found.rows[0];
    return PlacingColumn{.name = QuoteIdentifier(name),
                         .type = pg::Text(row, 1),
                         .not_null = pg::Flag(row, 0),
                         .generated = pg::Flag(row, 2),
                         .has_hash = pg::Flag(row, 3)};
}

bool
ColumnChecks::CheckTime(const PlacingColumn &column) {
    const TimeType *const type = FindTimeType(column.type);
    if (type == nullptr) {
        return RefuseValue(
            "column " + column.name + " of table " + table_ +
                " cannot be a hypertable's time: its type is no time and no integer",
            "-- name a column of type timestamptz, timestamp, date or an integer type");
    }
    if (column.generated) {
        return RefuseValue("column " + column.name + " of table " + table_ +
                               " cannot place a hypertable's rows: it is generated",
                           "-- name another column");
    }
    if (!column.not_null) {
        run_.Warning("hypertables", table_,
                     "column " + column.name + " of table " + table_ +
                         " may be NULL, which no row of a hypertable's time can",
                     "ALTER TABLE " + table_ + " ALTER COLUMN " + column.name + " SET NOT NULL;");
    }
    return CheckInterval(column, *type);
}

bool
ColumnChecks::CheckInterval(const PlacingColumn &column, const TimeType &type) {
    if (!option_.chunk_interval.empty()) {
        return type.largest > 0 ? CheckNumber(column, type) : CheckLength(column);
    }
    if (type.largest > 0 && CompareVersions(timescaledb_, kDefaultIntegerInterval) < 0) {
        return RefuseValue("column " + column.name + " of table " + table_ +
                               " is an integer time, for which TimescaleDB before 2.13 has no "
                               "default length of chunks",
                           "-- add chunk_interval: a number in the unit of the column, such as "
                           "86400 for a day in seconds");
    }
    return true;
}

bool
ColumnChecks::CheckNumber(const PlacingColumn &column, const TimeType &type) {
    const std::string &text = option_.chunk_interval;
    int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size() || number < 1 ||
        number > type.largest) {
        return RefuseValue(Interval() + " is no number from 1 to " + std::to_string(type.largest) +
                               ", as the integer time of column " + column.name + " needs",
                           "-- write a number in the unit of the column, such as 86400 for a day "
                           "in seconds");
    }
    return true;
}

// A number alone would be seconds for type interval, and microseconds for create_hypertable.
bool
ColumnChecks::CheckLength(const PlacingColumn &column) {
    const std::string &text = option_.chunk_interval;
    constexpr char kFix[] = "-- write an interval, such as '7 days'";
    if (text.find_first_not_of("0123456789.+-eE ") == std::string::npos) {
        return RefuseValue(Interval() + " is a number, while column " + column.name +
                               " is of type " + column.type,
                           kFix);
    }
    // A month counts as 30 days, as with TimescaleDB.
    const std::string seconds =
        "SELECT (2592000 * (12 * pg_catalog.date_part('year', i) + "
        "pg_catalog.date_part('month', i)) + pg_catalog.date_part('epoch', "
        "i - pg_catalog.date_trunc('month', i)))::pg_catalog.numeric AS s FROM (SELECT " +
        QuoteLiteral(text) + "::pg_catalog.interval AS i) given";
    if (const std::string refusal = TryStatement(seconds); !refusal.empty()) {
        return RefuseValue(Interval() + " is no interval: " + refusal, kFix);
    }
    const pg::SqlResult days =
        pg::Query("SELECT s > 0, s % 86400 = 0 FROM (" + seconds + ") length");
    if (!pg::Flag(days.rows[0], 0)) {
        return RefuseValue(Interval() + " is not positive", kFix);
    }
    if (column.type == "date" && !pg::Flag(days.rows[0], 1)) {
        return RefuseValue(Interval() + " is no whole number of days, as column " + column.name +
                               " of type date needs",
                           kFix);
    }
    return true;
}

bool
ColumnChecks::CheckPartition(const PlacingColumn &column) {
    if (option_.partition_column == option_.time_column) {
        return RefuseValue("partition_column of table " + table_ + " is its time_column",
                           "-- name another column, or leave out partition_column and partitions");
    }
    if (column.generated || !column.has_hash) {
        return RefuseValue(
            "column " + column.name + " of table " + table_ +
                " cannot place a hypertable's rows: " +
                (column.generated ? "it is generated" : "its type has no hash function"),
            "-- name another column");
    }
    return true;
}

} // namespace

bool
CheckHypertableColumns(PreflightRun &run, const HypertableOption &option,
                       const source::SourceTable &table, const std::string &timescaledb) {
    return ColumnChecks(run, option, table, timescaledb).Run();
}

} // namespace livemigrate::stage
