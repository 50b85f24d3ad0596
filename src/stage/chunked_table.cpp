#include "stage/chunked_table.hpp"

#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/local_settings.hpp"
#include "pg/row_set.hpp"
#include "pg/spi.hpp"
#include "pg/sql_row.hpp"

#include <algorithm>
#include <map>

extern "C" {
#include "utils/date.h"
#include "utils/timestamp.h"
}

namespace livemigrate::stage {

namespace {

// Types of time columns whose values are integers inside, so that a batch's least and greatest are
// found without their operators.
bool
IsOrdered(Oid type) {
    return type == TIMESTAMPTZOID || type == TIMESTAMPOID || type == DATEOID || type == INT8OID ||
           type == INT4OID || type == INT2OID;
}

// Where a value lies: microseconds since 2000-01-01 (UTC, as TimescaleDB takes types without time
// zone), or the integer.
int64
Place(Oid type, Datum value) {
    switch (type) {
    case INT2OID:
        return DatumGetInt16(value);
    case INT4OID:
        return DatumGetInt32(value);
    case DATEOID: {
        const DateADT date = DatumGetDateADT(value);
        return DATE_IS_NOBEGIN(date) ? PG_INT64_MIN
               : DATE_IS_NOEND(date) ? PG_INT64_MAX
                                     : date * USECS_PER_DAY;
    }
    default:
        return DatumGetInt64(value);
    }
}

// The least and greatest value of a source, as parameters of a statement. C-like.
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
    if (Place(type, value) < Place(type, least[0])) {
        least[0] = value;
    }
    if (Place(type, value) > Place(type, least[1])) {
        least[1] = value;
    }
}

// Place() of where a chunk begins or ends, of the view timescaledb_information.chunks.
std::string
PlaceSql(const std::string &side, const std::string &infinite) {
    const std::string time = "k.range_" + side;
    return "COALESCE(" + time + "_integer, CASE WHEN pg_catalog.isfinite(" + time +
           ") THEN (EXTRACT(epoch FROM " + time +
           " - '2000-01-01 00:00:00+00'::pg_catalog.timestamptz) * 1000000)::bigint ELSE '" +
           infinite + "'::bigint END)";
}

bool
IsWithin(const std::vector<ChunkedTable::Range> &ranges, int64 place) {
    return std::any_of(ranges.begin(), ranges.end(), [place](const ChunkedTable::Range &range) {
        return range.begin <= place && place < range.end;
    });
}

std::string
Parameter(size_t number) {
    return "$" + std::to_string(number);
}

} // namespace

ChunkedTable::ChunkedTable(Oid relid, const RemoteRelation &remote, const ValueFormat &format)
    : ManagedTable(relid, remote, format) {
    const pg::SqlResult time =
        pg::Query("SELECT d.column_name, COALESCE(d.integer_interval, (EXTRACT(epoch FROM "
                  "d.time_interval) * 1000000)::bigint, 0) "
                  "FROM timescaledb_information.dimensions d "
                  "JOIN pg_catalog.pg_namespace n ON n.nspname = d.hypertable_schema "
                  "JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid "
                  "AND c.relname = d.hypertable_name "
                  "WHERE c.oid = $1::oid ORDER BY d.dimension_number LIMIT 1",
                  {std::to_string(relid)});
    time_column_ = QuoteIdentifier(pg::Text(time.rows.at(0), 0));
    chunk_interval_ = pg::Number<int64>(time.rows.at(0), 1);
}

std::string
ChunkedTable::Value(const Statement &, size_t source) const {
    return "r.s" + std::to_string(source);
}

std::vector<ChunkedTable::Bound>
ChunkedTable::BoundsOf(const Statement &statement) const {
    std::vector<Bound> bounds;
    for (const size_t source : statement.placed) {
        const Oid type = ColumnOf(statement, source).input.type;
        if (IsOrdered(type)) {
            bounds.push_back({source, type});
        }
    }
    return bounds;
}

// Of each row.
std::vector<int64>
ChunkedTable::Places(const Statement &statement, const Bound &time) {
    std::vector<int64> places;
    places.reserve(statement.rows.size());
    ValueInput &input = ColumnOf(statement, time.source).input;
    pg::Call([&] {
        PushActiveSnapshot(GetTransactionSnapshot());
        for (const NetEffect::Row &row : statement.rows) {
            const ColumnValue &value = ValueOf(statement, time.source, row);
            places.push_back(Place(time.type, ReadValue(input, value, format())));
        }
        PopActiveSnapshot();
    });
    return places;
}

// In order, chunks beside each other as one.
std::vector<ChunkedTable::Range>
ChunkedTable::CompressedRanges() const {
    const pg::SqlResult found =
        pg::Query("SELECT " + PlaceSql("start", "-9223372036854775808") + " AS begins, " +
                      PlaceSql("end", "9223372036854775807") +
                      " FROM timescaledb_information.chunks k "
                      "JOIN pg_catalog.pg_namespace n ON n.nspname = k.hypertable_schema "
                      "JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid "
                      "AND c.relname = k.hypertable_name "
                      "WHERE c.oid = $1::oid AND k.is_compressed ORDER BY begins",
                  {std::to_string(relid())});
    std::vector<Range> ranges;
    for (const pg::SqlRow &row : found.rows) {
        const Range range = {pg::Number<int64>(row, 0), pg::Number<int64>(row, 1)};
        if (ranges.empty() || range.begin > ranges.back().end) {
            ranges.push_back(range);
        } else {
            ranges.back().end = std::max(ranges.back().end, range.end);
        }
    }
    return ranges;
}

// Rows of a compressed chunk are better found by constants: one statement for many would decompress
// all that lies between them.
std::vector<ManagedTable::Part>
ChunkedTable::Divide(const Statement &statement) {
    if (statement.kind == ChangeKind::kInsert) {
        return {{statement.rows}};
    }
    const std::vector<Range> compressed = CompressedRanges();
    const std::vector<Bound> bounds = BoundsOf(statement);
    const auto time = std::find_if(bounds.begin(), bounds.end(), [&](const Bound &bound) {
        return ColumnOf(statement, bound.source).name == time_column_;
    });
    if (time == bounds.end() || chunk_interval_ <= 0) {
        return {{statement.rows, compressed.empty()}};
    }
    const std::vector<int64> places = Places(statement, *time);
    std::map<int64, Part> by_chunk;
    for (size_t i = 0; i < places.size(); i++) {
        Part &part = by_chunk[places[i] / chunk_interval_];
        part.rows.push_back(statement.rows[i]);
        part.together = part.together && !IsWithin(compressed, places[i]);
    }
    std::vector<Part> parts;
    for (auto &[chunk, part] : by_chunk) {
        part.together = part.together && part.rows.size() >= kManyRows;
        parts.push_back(std::move(part));
    }
    return parts;
}

uint64
ChunkedTable::Execute(const Statement &statement, const Rows &rows) {
    std::vector<std::string> names;
    std::vector<pg::RowSetColumn> set_columns;
    const size_t count = statement.sources.size();
    names.reserve(count);
    for (size_t i = 0; i < count; i++) {
        const Column &column = ColumnOf(statement, i);
        names.push_back("s" + std::to_string(i));
        set_columns.push_back({names.back().c_str(), column.input.type, column.input.type_modifier,
                               column.collation});
    }
    const std::vector<Bound> placed = BoundsOf(statement);
    std::string sql = statement.before + pg::kRowSetName + " AS r" + statement.behind;
    for (size_t i = 0; i < placed.size(); i++) {
        const std::string name = "t." + ColumnOf(statement, placed[i].source).name;
        sql += " AND " + name + " OPERATOR(pg_catalog.>=) " + Parameter(2 * i + 1) + " AND " +
               name + " OPERATOR(pg_catalog.<=) " + Parameter(2 * i + 2);
    }
    // Rows are found through an index, for each its own: a chunk may be far larger than the batch.
    const pg::LocalSettings settings({{"enable_hashjoin", "off"}, {"enable_mergejoin", "off"}});
    return pg::Call([&]() -> uint64 {
        SPI_connect();
        PushActiveSnapshot(GetTransactionSnapshot());
        const size_t parameters = 2 * placed.size();
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
                const ColumnValue &value = ValueOf(statement, i, row);
                values[i] = ReadValue(ColumnOf(statement, i).input, value, format());
                nulls[i] = value.kind == ValueKind::kNull;
            }
            for (size_t i = 0; i < placed.size(); i++) {
                Widen(bounds, i, placed[i].type, values[placed[i].source]);
            }
            pg::PutRow(set, values, nulls);
            MemoryContextSwitchTo(outer);
            MemoryContextReset(row_context);
        }
        for (size_t i = 0; i < parameters; i++) {
            bounds.types[i] = placed[i / 2].type;
        }
        const uint64 processed = Run(sql.c_str(), static_cast<int>(parameters), bounds.types,
                                     bounds.values, bounds.nulls);
        PopActiveSnapshot();
        SPI_finish();
        return processed;
    });
}

} // namespace livemigrate::stage
