#include "stage/distributed_table.hpp"

#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/spi.hpp"
#include "pg/sql_row.hpp"

#include <algorithm>
#include <set>

extern "C" {
#include "catalog/pg_collation.h"
#include "utils/array.h"
}

namespace livemigrate::stage {

namespace {

// Whether arrays of the type can be a parameter: not of arrays; and other nodes may know a type
// that is not built in by another number.
bool
HasArray(Oid type) {
    return type < FirstGenbkiObjectId && OidIsValid(get_array_type(type)) &&
           !OidIsValid(get_element_type(type));
}

std::string
TypeName(Oid type) {
    return pg::Call([type] { return format_type_be_qualified(type); });
}

std::string
CollationName(Oid collation) {
    struct Names {
        const char *schema;
        const char *name;
    };
    const Names names = pg::Call([collation]() -> Names {
        HeapTuple tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
        if (!HeapTupleIsValid(tuple)) {
            elog(ERROR, "cache lookup failed for collation %u", collation);
        }
        const auto *form = reinterpret_cast<Form_pg_collation>(GETSTRUCT(tuple));
        const Names found = {get_namespace_name(form->collnamespace),
                             pstrdup(NameStr(form->collname))};
        ReleaseSysCache(tuple);
        return found;
    });
    return QualifiedName(names.schema, names.name);
}

} // namespace

std::string
DistributedTable::Value(const Statement & /*statement*/, size_t source) const {
    return "r.s" + std::to_string(source);
}

// The rows as an item of FROM. Casts are within: Citus takes no function that depends on settings
// where rows are changed. They have no type modifier: where the column's does not take the value it
// is an error, as it is for an assignment.
std::string
DistributedTable::RowsItem(const Statement &statement) const {
    std::string values;
    std::string arrays;
    std::string names;
    for (size_t i = 0; i < statement.sources.size(); i++) {
        const Column &column = ColumnOf(statement, i);
        const std::string name = "s" + std::to_string(i);
        const std::string separator = i == 0 ? "" : ", ";
        arrays += separator + "pg_catalog.unnest($" + std::to_string(i + 1) + ")";
        names += separator + name;
        values += separator + "u." + name;
        if (!HasArray(column.input.type)) {
            values += "::" + TypeName(column.input.type);
        }
        if (OidIsValid(column.collation) && column.collation != DEFAULT_COLLATION_OID) {
            values += " COLLATE " + CollationName(column.collation);
        }
    }
    return "(SELECT " + values + " FROM ROWS FROM (" + arrays + ") AS u (" + names +
           ") OFFSET 0) AS r (" + names + ")";
}

// The source's value of each row, as the type's text.
std::vector<std::string>
DistributedTable::Texts(const Statement &statement, size_t source) {
    std::vector<std::string> texts;
    texts.reserve(statement.rows.size());
    Column &column = ColumnOf(statement, source);
    for (const NetEffect::Row &row : statement.rows) {
        texts.emplace_back(pg::Call([&] {
            PushActiveSnapshot(GetTransactionSnapshot());
            const Datum value = ReadValue(column.input, ValueOf(statement, source, row), format());
            Oid output = InvalidOid;
            bool is_varlena = false;
            getTypeOutputInfo(column.input.type, &output, &is_varlena);
            const char *text = OidOutputFunctionCall(output, value);
            PopActiveSnapshot();
            return text;
        }));
    }
    return texts;
}

// By the values of the distribution column.
std::map<std::string, std::string>
DistributedTable::ShardsOf(const std::vector<std::string> &values, const Column &column) const {
    const std::set<std::string> distinct(values.begin(), values.end());
    const std::vector<std::string> list(distinct.begin(), distinct.end());
    const pg::SqlResult found = pg::Query(
        "SELECT pg_catalog.get_shard_id_for_distribution_column($1::oid::pg_catalog.regclass, "
        "u.v::" +
            TypeName(column.input.type) +
            ") FROM pg_catalog.unnest($2::text[]) WITH ORDINALITY AS u(v, n) ORDER BY u.n",
        {std::to_string(relid()), TextArrayLiteral(list)});
    std::map<std::string, std::string> shards;
    for (size_t i = 0; i < list.size(); i++) {
        shards[list[i]] = pg::Text(found.rows.at(i), 0);
    }
    return shards;
}

// Otherwise the statement goes to all shards, or, of a reference table, to its only one.
bool
DistributedTable::IsSentByShard(const Statement &statement) const {
    return !statement.placed.empty() &&
           HasArray(ColumnOf(statement, statement.placed.front()).input.type);
}

std::vector<ManagedTable::Part>
DistributedTable::Divide(const Statement &statement) {
    if (!IsSentByShard(statement)) {
        return {{statement.rows, !statement.sources.empty()}};
    }
    const size_t source = statement.placed.front();
    const std::vector<std::string> values = Texts(statement, source);
    const std::map<std::string, std::string> shards = ShardsOf(values, ColumnOf(statement, source));
    std::map<std::string, Rows> by_shard;
    for (size_t i = 0; i < values.size(); i++) {
        by_shard[shards.at(values[i])].push_back(statement.rows[i]);
    }
    std::vector<Part> parts;
    for (auto &[shard, rows] : by_shard) {
        const bool together = rows.size() >= kManyRows;
        parts.push_back({std::move(rows), together});
    }
    return parts;
}

// That the distribution column has one of the values is said beside the join: from this Citus knows
// the shard.
uint64
DistributedTable::Execute(const Statement &statement, const Rows &rows) {
    const size_t count = statement.sources.size();
    std::string sql = statement.before + RowsItem(statement) + statement.behind;
    if (IsSentByShard(statement)) {
        const size_t source = statement.placed.front();
        const Column &column = ColumnOf(statement, source);
        sql += " AND t." + column.name + " " + column.equality + " ANY ($" +
               std::to_string(source + 1) + ")";
    }
    return pg::Call([&]() -> uint64 {
        SPI_connect();
        PushActiveSnapshot(GetTransactionSnapshot());
        auto *arguments = static_cast<Datum *>(palloc0(sizeof(Datum) * count));
        auto *types = static_cast<Oid *>(palloc0(sizeof(Oid) * count));
        const MemoryContext row_context =
            AllocSetContextCreate(CurrentMemoryContext, "livemigrate row", ALLOCSET_DEFAULT_SIZES);
        for (size_t i = 0; i < count; i++) {
            ValueInput &input = ColumnOf(statement, i).input;
            const Oid element = HasArray(input.type) ? input.type : TEXTOID;
            Oid output = InvalidOid;
            bool is_varlena = false;
            getTypeOutputInfo(input.type, &output, &is_varlena);
            types[i] = get_array_type(element);
            ArrayBuildState *array = initArrayResult(element, CurrentMemoryContext, true);
            for (const NetEffect::Row &row : rows) {
                CHECK_FOR_INTERRUPTS();
                const MemoryContext outer = MemoryContextSwitchTo(row_context);
                const ColumnValue &value = ValueOf(statement, i, row);
                const bool is_null = value.kind == ValueKind::kNull;
                Datum datum = ReadValue(input, value, format());
                if (element != input.type && !is_null) {
                    datum = CStringGetTextDatum(OidOutputFunctionCall(output, datum));
                }
                MemoryContextSwitchTo(outer);
                accumArrayResult(array, datum, is_null, element, CurrentMemoryContext);
                MemoryContextReset(row_context);
            }
            arguments[i] = makeArrayResult(array, CurrentMemoryContext);
        }
        const uint64 processed =
            Run(sql.c_str(), static_cast<int>(count), types, arguments, nullptr);
        PopActiveSnapshot();
        SPI_finish();
        return processed;
    });
}

} // namespace livemigrate::stage
