// NOTES
//   A table's checksum is the sum, over its rows, of a hash of 64 bits of the row's image. A sum
//   does not depend on the rows' order, and counts duplicates, which an exclusive or would cancel
//   out. sum(bigint) adds in 128 bits inside the server, which is why the halves are not cast to
//   numeric.
//
//   The image is ROW(...)::text under pinned settings: the text that COPY moves. record_out looks
//   at each byte for what it must quote (9 ns a byte), so the values of text columns stay outside
//   of it: only their lengths go into the ROW, the bytes follow it unquoted. That stays
//   unambiguous, and takes a third off the time for usual tables. bytea goes in as its md5, which
//   also keeps values whose hex text would pass 1 GB.
//
//   The hash is hashtextextended(), which costs a fifth of what cutting 64 bits from md5() does.
//   Hash partitions rely on it, so it stays as it is from one version to the next, but it depends
//   on the machine's byte order. Both sides are asked for some hashes first: where they differ, or
//   the source is older than 11, it is md5().
//
//   Both hash the server's encoding. Where the two differ, everything goes through ROW, is
//   converted to UTF-8, and hashed by md5().
//
//   Before version 12 extra_float_digits = 3 prints 17 digits, from then on the shortest exact
//   form: not the same text. With such a source, floats are taken by their bytes; those inside
//   arrays and composite types are compared to 15 digits.
#include "stage/compare_image.hpp"

#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"
#include "source/locked_relations.hpp"

#include <algorithm>

namespace livemigrate::stage {

namespace {

constexpr char kShapes[] = R"(
SELECT q.n,
       CASE WHEN c.oid IN (SELECT relation FROM locked) THEN 0
            ELSE pg_catalog.pg_table_size(c.oid) END, a.attname,
       CASE WHEN t.typtype <> 'd' THEN t.oid ELSE (
           WITH RECURSIVE base AS (
               SELECT t.typbasetype AS oid
               UNION ALL
               SELECT b.typbasetype FROM base
               JOIN pg_catalog.pg_type b ON b.oid = base.oid AND b.typtype = 'd')
           SELECT base.oid FROM base JOIN pg_catalog.pg_type b ON b.oid = base.oid
           WHERE b.typtype <> 'd') END,
       (SELECT pg_catalog.array_position(i.indkey::pg_catalog.int2[], a.attnum)
        FROM pg_catalog.pg_index i
        WHERE i.indrelid = c.oid AND (i.indisprimary OR i.indisreplident)
          AND a.attnum = ANY (i.indkey::pg_catalog.int2[])
        ORDER BY i.indisprimary DESC LIMIT 1)
FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[]))
     WITH ORDINALITY AS q(schema, name, n)
JOIN pg_catalog.pg_namespace s ON s.nspname = q.schema::pg_catalog.name
JOIN pg_catalog.pg_class c ON c.relnamespace = s.oid AND c.relname = q.name::pg_catalog.name
                          AND c.relkind IN ('r', 'p', 'm', 'f')
LEFT JOIN pg_catalog.pg_attribute a
       ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
)";

} // namespace

std::string
ShapesQuery() {
    return std::string("WITH ") + source::kLockedRelations + kShapes;
}

// Empty, shorter and longer than the 12 bytes that it takes at a time, at each rest.
const char *const kTextHashQuery = R"(
SELECT pg_catalog.hashtextextended(pg_catalog.left('livemigrate compares', n) COLLATE pg_catalog."C", 0)
FROM pg_catalog.generate_series(0, 20) n ORDER BY n
)";

namespace {

// concat() takes at most 100 arguments.
constexpr size_t kMaxConcatArguments = 90;
constexpr size_t kShownRowLength = 200;

// pg_type.oid of base types; fixed for all versions.
enum TypeOid : uint32_t {
    kBytea = 17,
    kText = 25,
    kFloat4 = 700,
    kFloat8 = 701,
    kBpchar = 1042,
    kVarchar = 1043,
};

// A call of concat() with all arguments, nested where there are too many.
std::string
Concat(std::vector<std::string> arguments) {
    while (arguments.size() > 1) {
        std::vector<std::string> calls;
        for (size_t begin = 0; begin < arguments.size(); begin += kMaxConcatArguments) {
            const size_t end = std::min(begin + kMaxConcatArguments, arguments.size());
            std::string call = "pg_catalog.concat(";
            for (size_t i = begin; i < end; i++) {
                call += (i == begin ? "" : ", ") + arguments[i];
            }
            calls.push_back(call + ")");
        }
        arguments = std::move(calls);
    }
    return arguments.at(0);
}

bool
IsTextual(uint32_t type) {
    return type == kText || type == kVarchar || type == kBpchar;
}

// The expression whose text stands for one column inside the ROW.
std::string
ColumnImage(const std::string &column, uint32_t type, const ImageRules &rules) {
    if (type == kBytea) {
        return "pg_catalog.md5(" + column + ")";
    }
    if ((type == kFloat4 || type == kFloat8) && !rules.exact_float_text) {
        // NaN has many bit patterns, one text.
        const char *send = type == kFloat4 ? "float4send" : "float8send";
        return "CASE WHEN " + column + " = 'NaN' THEN 'NaN' ELSE pg_catalog.encode(pg_catalog." +
               send + "(" + column + "), 'hex') END";
    }
    if (IsTextual(type) && rules.same_encoding) {
        return "pg_catalog.octet_length(" + column + ")";
    }
    return column;
}

} // namespace

std::vector<TableShape>
ReadShapes(const pg::SqlResult &result, size_t tables) {
    std::vector<TableShape> shapes(tables);
    std::vector<std::map<int, std::string>> keys(tables);
    for (const pg::SqlRow &row : result.rows) {
        const size_t table = pg::Number<size_t>(row, 0) - 1;
        TableShape &shape = shapes.at(table);
        shape.exists = true;
        shape.bytes = pg::Number<uint64_t>(row, 1);
        if (row.at(2)) {
            shape.columns[*row[2]] = pg::Number<uint32_t>(row, 3);
            if (row.at(4)) {
                keys[table][pg::Number<int>(row, 4)] = *row[2];
            }
        }
    }
    for (size_t table = 0; table < tables; table++) {
        for (const auto &[position, name] : keys[table]) {
            shapes[table].key.push_back(name);
        }
    }
    return shapes;
}

std::string
RowImage(const std::map<std::string, uint32_t> &columns, const ImageRules &rules) {
    std::string row;
    std::vector<std::string> parts(1);
    for (const auto &[name, type] : columns) {
        const std::string column = "t." + QuoteIdentifier(name);
        row += (row.empty() ? "" : ", ") + ColumnImage(column, type, rules);
        if (IsTextual(type) && rules.same_encoding) {
            parts.push_back(column);
        }
    }
    parts[0] = "ROW(" + row + ")::pg_catalog.text";
    std::string image = Concat(std::move(parts));
    return rules.same_encoding ? image : "pg_catalog.convert_to(" + image + ", 'UTF8')";
}

std::string
RowHash(const std::string &image, const ImageRules &rules) {
    if (rules.same_encoding && rules.same_text_hash) {
        return "pg_catalog.hashtextextended(" + image + " COLLATE pg_catalog.\"C\", 0)";
    }
    return "('x' || pg_catalog.md5(" + image + "))::pg_catalog.bit(64)::pg_catalog.int8";
}

std::string
KeyText(const std::vector<std::string> &columns) {
    std::string names;
    std::vector<std::string> values = {""};
    for (const std::string &column : columns) {
        names += (names.empty() ? "" : ", ") + column;
        if (values.size() > 1) {
            values.emplace_back("', '");
        }
        values.push_back("t." + QuoteIdentifier(column));
    }
    values[0] = QuoteLiteral("(" + names + ")=(");
    values.emplace_back("')'");
    return Concat(std::move(values));
}

std::string
RowText(const std::map<std::string, uint32_t> &columns) {
    std::string row;
    for (const auto &[name, type] : columns) {
        row += (row.empty() ? "t." : ", t.") + QuoteIdentifier(name);
    }
    return "pg_catalog.left(ROW(" + row + ")::pg_catalog.text, " + std::to_string(kShownRowLength) +
           ")";
}

} // namespace livemigrate::stage
