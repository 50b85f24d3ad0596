// NOTES
//   A table's checksum is the sum, over its rows, of 64 bits of md5 of the row's image. A sum does
//   not depend on the rows' order, and counts duplicates, which an exclusive or would cancel out.
//   sum(bigint) adds in 128 bits inside the server, which is why the halves are not cast to
//   numeric.
//
//   The image is ROW(...)::text under pinned settings: the text that COPY moves. record_out looks
//   at each byte for what it must quote (9 ns a byte), so the values of text columns stay outside
//   of it: only their lengths go into the ROW, the bytes follow it unquoted. That stays
//   unambiguous, and takes a third off the time for usual tables. bytea goes in as its md5, which
//   also keeps values whose hex text would pass 1 GB.
//
//   md5() hashes the server's encoding. Where the two differ, everything goes through ROW and is
//   converted to UTF-8 before it is hashed.
//
//   Before version 12 extra_float_digits = 3 prints 17 digits, from then on the shortest exact
//   form: not the same text. With such a source, floats are taken by their bytes; those inside
//   arrays and composite types are compared to 15 digits.
#include "stage/compare.hpp"

#include "core/error.hpp"
#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/local_settings.hpp"
#include "pg/spi.hpp"
#include "pg/subtransaction.hpp"
#include "pg/wait.hpp"
#include "source/connection.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <numeric>
#include <optional>

namespace livemigrate::stage {

namespace {

constexpr size_t kSourceConnections = 2;
// concat() takes at most 100 arguments.
constexpr size_t kMaxConcatArguments = 90;
constexpr int kShortestFloatVersion = 120000;

// pg_type.oid of base types; fixed for all versions.
enum TypeOid : uint32_t {
    kBytea = 17,
    kText = 25,
    kFloat4 = 700,
    kFloat8 = 701,
    kBpchar = 1042,
    kVarchar = 1043,
};

// Columns with their base type, tables with their kind and size. $1: schemas, $2: names.
constexpr char kColumnsQuery[] = R"(
SELECT q.n, pg_catalog.pg_table_size(c.oid), a.attname,
       CASE WHEN t.typtype <> 'd' THEN t.oid ELSE (
           WITH RECURSIVE base AS (
               SELECT t.typbasetype AS oid
               UNION ALL
               SELECT b.typbasetype FROM base
               JOIN pg_catalog.pg_type b ON b.oid = base.oid AND b.typtype = 'd')
           SELECT base.oid FROM base JOIN pg_catalog.pg_type b ON b.oid = base.oid
           WHERE b.typtype <> 'd') END
FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[]))
     WITH ORDINALITY AS q(schema, name, n)
JOIN pg_catalog.pg_namespace s ON s.nspname = q.schema::pg_catalog.name
JOIN pg_catalog.pg_class c ON c.relnamespace = s.oid AND c.relname = q.name::pg_catalog.name
                          AND c.relkind IN ('r', 'p', 'm', 'f')
LEFT JOIN pg_catalog.pg_attribute a
       ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
)";

struct TableShape {
    bool exists = false;
    uint64_t bytes = 0;
    std::map<std::string, uint32_t> columns; // name to base type
};

// How values are turned into a row image; the same for both sides.
struct ImageRules {
    bool same_encoding = true;
    bool exact_float_text = true;
};

struct Fingerprint {
    int64_t rows = -1;
    std::string checksum;
};

uint64_t
ToNumber(const pg::SqlValue &value) {
    return value ? std::stoull(*value) : 0;
}

std::vector<TableShape>
ReadShapes(const pg::SqlResult &result, size_t tables) {
    std::vector<TableShape> shapes(tables);
    for (const auto &row : result.rows) {
        TableShape &shape = shapes.at(ToNumber(row.at(0)) - 1);
        shape.exists = true;
        shape.bytes = ToNumber(row.at(1));
        if (row.at(2)) {
            shape.columns[*row[2]] = static_cast<uint32_t>(ToNumber(row.at(3)));
        }
    }
    return shapes;
}

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

// A text expression over table alias "t" that is the same exactly for equal rows. Type 0 stands for
// columns that have different types on the two sides.
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
    return Concat(std::move(parts));
}

std::string
FingerprintQuery(const ComparedTable &table, bool only,
                 const std::map<std::string, uint32_t> &columns, const ImageRules &rules) {
    std::string image = RowImage(columns, rules);
    if (!rules.same_encoding) {
        image = "pg_catalog.convert_to(" + image + ", 'UTF8')";
    }
    return "SELECT pg_catalog.count(*), COALESCE(pg_catalog.sum(('x' || pg_catalog.md5(" + image +
           "))::pg_catalog.bit(64)::pg_catalog.int8), 0) FROM " + (only ? "ONLY " : "") +
           QualifiedName(table.schema, table.name) + " AS t";
}

Fingerprint
ToFingerprint(const pg::SqlResult &result) {
    const auto &row = result.rows.at(0);
    return {std::stoll(row.at(0).value()), row.at(1).value()};
}

// "schema"."table" as quote_ident() writes it, for people.
std::string
DisplayName(const ComparedTable &table) {
    char *name = pg::Call(
        [&] { return quote_qualified_identifier(table.schema.c_str(), table.name.c_str()); });
    std::string result(name);
    pfree(name);
    return result;
}

// What to run when `role` may not read a table.
std::string
ReadHint(const Error &error, const ComparedTable &table, const std::string &role) {
    if (!error.hint().empty() || error.sqlstate() != sqlstate::kInsufficientPrivilege) {
        return error.hint();
    }
    if (error.message().find("row-level security") != std::string::npos) {
        return "Run as a superuser: ALTER ROLE " + role + " BYPASSRLS;";
    }
    return "Run as the owner: GRANT USAGE ON SCHEMA " + QuoteIdentifier(table.schema) + " TO " +
           role + "; GRANT SELECT ON " + QualifiedName(table.schema, table.name) + " TO " + role +
           ";";
}

// Throws `error` again, naming the table.
[[noreturn]] void
ThrowForTable(const Error &error, const ComparedTable &table, const char *side,
              const std::string &role) {
    const std::string context = error.context().empty() ? "" : error.context() + "\n";
    throw Error(error.sqlstate(), error.message())
        .Detail(error.detail())
        .Hint(ReadHint(error, table, role))
        .Context(context + "comparing table " + QualifiedName(table.schema, table.name) +
                 " on the " + side);
}

// Settings of a source session beyond those that every connection pins. Each may be unknown there.
void
PrepareSourceSession(source::Connection &connection) {
    connection.Query("SET quote_all_identifiers = off");
    if (connection.server_version() < kShortestFloatVersion) {
        connection.Query("SET extra_float_digits = 0");
    }
    if (connection.server_version() >= 110000) {
        connection.Query("SET jit = off"); // compiling wide rows costs more than it saves
    }
    if (connection.server_version() >= 140000) {
        try {
            // So that a cancelled comparison does not go on reading on the source.
            connection.Query("SET client_connection_check_interval = '2s'");
        } catch (const Error &error) {
            if (error.sqlstate() != sqlstate::kInvalidParameterValue) {
                throw; // else: the source's platform cannot do it
            }
        }
    }
}

// Runs one statement for each table on the source, while the caller does other work.
class SourceRunner {
  public:
    // `tables` and `statements` must outlive this.
    SourceRunner(source::Connection first, const std::string &conninfo,
                 const std::vector<ComparedTable> &tables,
                 const std::vector<std::string> &statements, std::vector<size_t> order);

    // Takes the results that have arrived and hands out further statements, without waiting.
    // Returns whether there was any result.
    bool Poll();

    void WaitForAll();

    const Fingerprint &
    result(size_t table) const {
        return results_.at(table);
    }

  private:
    struct Session {
        source::Connection connection;
        std::optional<size_t> table; // that it works on
    };

    void GiveNext(Session &session);
    bool TakeResult(Session &session);

    const std::vector<ComparedTable> &tables_;
    const std::vector<std::string> &statements_;
    const std::vector<size_t> order_;
    size_t next_ = 0;
    std::vector<Session> sessions_;
    std::vector<Fingerprint> results_;
};

SourceRunner::SourceRunner(source::Connection first, const std::string &conninfo,
                           const std::vector<ComparedTable> &tables,
                           const std::vector<std::string> &statements, std::vector<size_t> order)
    : tables_(tables), statements_(statements), order_(std::move(order)),
      results_(statements.size()) {
    sessions_.push_back({std::move(first), std::nullopt});
    while (sessions_.size() < std::min(kSourceConnections, order_.size())) {
        sessions_.push_back(
            {source::Connection::Open(conninfo, source::ConnectionKind::kSql), std::nullopt});
    }
    for (Session &session : sessions_) {
        PrepareSourceSession(session.connection);
        GiveNext(session);
    }
}

void
SourceRunner::GiveNext(Session &session) {
    if (next_ < order_.size()) {
        session.table = order_[next_++];
        session.connection.SendQuery(statements_[*session.table]);
    }
}

bool
SourceRunner::TakeResult(Session &session) {
    if (!session.table) {
        return false;
    }
    if (PQconsumeInput(session.connection.raw()) == 0) {
        session.connection.ThrowConnectionError("lost the connection to the source");
    }
    if (PQisBusy(session.connection.raw()) != 0) {
        return false;
    }
    try {
        results_[*session.table] = ToFingerprint(session.connection.FinishQuery());
    } catch (const Error &error) {
        ThrowForTable(error, tables_[*session.table], "source",
                      QuoteIdentifier(PQuser(session.connection.raw())));
    }
    session.table.reset();
    GiveNext(session);
    return true;
}

bool
SourceRunner::Poll() {
    bool any = false;
    for (Session &session : sessions_) {
        any = TakeResult(session) || any;
    }
    return any;
}

void
SourceRunner::WaitForAll() {
    for (;;) {
        if (Poll()) {
            continue;
        }
        const auto busy = std::find_if(sessions_.begin(), sessions_.end(),
                                       [](const Session &session) { return session.table; });
        if (busy == sessions_.end()) {
            return;
        }
        // One socket can be waited for; the others are looked at often enough.
        pg::Wait({.socket = PQsocket(busy->connection.raw()),
                  .for_read = true,
                  .timeout = std::chrono::milliseconds(50)});
    }
}

struct Plan {
    std::vector<TableComparison> results;
    std::vector<std::string> source_statements; // "" where the table is missing
    std::vector<std::string> target_statements;
    std::vector<size_t> order; // largest first
};

// The columns both sides have; says in `detail` which ones only one of them has.
std::map<std::string, uint32_t>
CommonColumns(const TableShape &source, const TableShape &target, std::string &detail) {
    std::map<std::string, uint32_t> common;
    std::string missing;
    auto add_missing = [&](const std::string &name, const char *side) {
        missing += (missing.empty() ? "" : ", ") + QuoteIdentifier(name) + " on the " + side;
    };
    for (const auto &[name, type] : source.columns) {
        const auto other = target.columns.find(name);
        if (other == target.columns.end()) {
            add_missing(name, "target");
        } else {
            common[name] = other->second == type ? type : 0;
        }
    }
    for (const auto &[name, type] : target.columns) {
        if (source.columns.count(name) == 0) {
            add_missing(name, "source");
        }
    }
    if (!missing.empty()) {
        detail = "Missing columns: " + missing + ".";
    }
    return common;
}

std::string
MissingTable(bool on_source, bool on_target) {
    if (!on_source && !on_target) {
        return "The table does not exist on either side.";
    }
    return std::string("The table does not exist on the ") + (on_source ? "target." : "source.");
}

Plan
MakePlan(const std::vector<ComparedTable> &tables, const std::vector<TableShape> &source,
         const std::vector<TableShape> &target, const ImageRules &rules) {
    Plan plan;
    plan.results.resize(tables.size());
    plan.source_statements.resize(tables.size());
    plan.target_statements.resize(tables.size());
    for (size_t i = 0; i < tables.size(); i++) {
        TableComparison &result = plan.results[i];
        result.relation = DisplayName(tables[i]);
        if (!source[i].exists || !target[i].exists) {
            result.detail = MissingTable(source[i].exists, target[i].exists);
        }
        // With a table missing, the other side's rows are counted all the same.
        const auto columns = source[i].exists && target[i].exists
                                 ? CommonColumns(source[i], target[i], result.detail)
                                 : (source[i].exists ? source[i] : target[i]).columns;
        if (source[i].exists) {
            plan.source_statements[i] =
                FingerprintQuery(tables[i], tables[i].source_only, columns, rules);
        }
        if (target[i].exists) {
            plan.target_statements[i] =
                FingerprintQuery(tables[i], tables[i].target_only, columns, rules);
        }
    }
    plan.order.resize(tables.size());
    std::iota(plan.order.begin(), plan.order.end(), size_t{0});
    std::stable_sort(plan.order.begin(), plan.order.end(), [&](size_t a, size_t b) {
        return std::max(source[a].bytes, target[a].bytes) >
               std::max(source[b].bytes, target[b].bytes);
    });
    return plan;
}

std::vector<size_t>
WithStatement(const std::vector<size_t> &order, const std::vector<std::string> &statements) {
    std::vector<size_t> result;
    std::copy_if(order.begin(), order.end(), std::back_inserter(result),
                 [&](size_t table) { return !statements[table].empty(); });
    return result;
}

Fingerprint
RunOnTarget(const std::string &statement, const ComparedTable &table, const std::string &role) {
    try {
        // Rolled back: else the locks of all tables would gather, and there is room for some
        // thousands only.
        const pg::Subtransaction subtransaction;
        return ToFingerprint(pg::Query(statement));
    } catch (const Error &error) {
        ThrowForTable(error, table, "target", role);
    }
}

bool
HasSameEncoding(source::Connection &connection) {
    const char *encoding = PQparameterStatus(connection.raw(), "server_encoding");
    return encoding != nullptr && std::string_view(encoding) == GetDatabaseEncodingName();
}

std::vector<pg::SqlValue>
NameParameters(const std::vector<ComparedTable> &tables) {
    std::vector<std::string> schemas;
    std::vector<std::string> names;
    for (const ComparedTable &table : tables) {
        schemas.push_back(table.schema);
        names.push_back(table.name);
    }
    return {TextArrayLiteral(schemas), TextArrayLiteral(names)};
}

void
Judge(TableComparison &result) {
    result.equal = result.source_rows == result.target_rows &&
                   result.source_checksum == result.target_checksum && result.detail.empty();
}

} // namespace

std::vector<TableComparison>
CompareData(const std::string &conninfo, const std::vector<ComparedTable> &tables) {
    source::Connection connection =
        source::Connection::Open(conninfo, source::ConnectionKind::kSql);
    const ImageRules rules{HasSameEncoding(connection),
                           connection.server_version() >= kShortestFloatVersion};
    const pg::LocalSettings settings({{"bytea_output", "hex"},
                                      {"DateStyle", "ISO, MDY"},
                                      {"IntervalStyle", "postgres"},
                                      {"extra_float_digits", rules.exact_float_text ? "3" : "0"},
                                      {"TimeZone", "UTC"},
                                      {"lc_monetary", "C"},
                                      {"xmloption", "content"},
                                      {"search_path", ""},
                                      {"row_security", "off"},
                                      {"quote_all_identifiers", "off"},
                                      {"jit", "off"}});
    const std::vector<pg::SqlValue> names = NameParameters(tables);
    // One after the other: the source's connection is moved from below.
    const auto source_shapes = ReadShapes(connection.Query(kColumnsQuery, names), tables.size());
    const auto target_shapes = ReadShapes(pg::Query(kColumnsQuery, names), tables.size());
    Plan plan = MakePlan(tables, source_shapes, target_shapes, rules);
    const std::string role =
        QuoteIdentifier(pg::Query("SELECT CURRENT_USER").Scalar().value_or(""));
    SourceRunner source(std::move(connection), conninfo, tables, plan.source_statements,
                        WithStatement(plan.order, plan.source_statements));
    for (const size_t table : WithStatement(plan.order, plan.target_statements)) {
        const Fingerprint target = RunOnTarget(plan.target_statements[table], tables[table], role);
        plan.results[table].target_rows = target.rows;
        plan.results[table].target_checksum = target.checksum;
        source.Poll();
    }
    source.WaitForAll();
    for (size_t table = 0; table < tables.size(); table++) {
        plan.results[table].source_rows = source.result(table).rows;
        plan.results[table].source_checksum = source.result(table).checksum;
        Judge(plan.results[table]);
    }
    return std::move(plan.results);
}

std::vector<TableComparison>
CompareData(const std::string &conninfo,
            const std::vector<std::pair<std::string, std::string>> &tables) {
    std::vector<ComparedTable> compared;
    compared.reserve(tables.size());
    for (const auto &[schema, name] : tables) {
        compared.push_back({schema, name});
    }
    return CompareData(conninfo, compared);
}

} // namespace livemigrate::stage
