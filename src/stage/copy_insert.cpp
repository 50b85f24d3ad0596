#include "stage/copy_insert.hpp"

#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/row_set.hpp"

#include <vector>

namespace livemigrate::stage {

namespace {

// Enough that planning, and what an extension does for each statement, does not count.
constexpr uint64 kBatchRows = 20'000;
constexpr uint64 kBatchBytes = 8 << 20;

bool
IsWritten(const Form_pg_attribute attribute) {
    return !attribute->attisdropped && attribute->attgenerated == '\0';
}

// An SPI connection's row set with the columns of the table, and the statement that inserts it.
struct RowInsert {
    pg::RowSet *set;
    SPIPlanPtr plan;
    int *attributes; // of the row set's columns
    int count;
    Datum *values;
    bool *nulls;
};

RowInsert
PrepareInsert(TupleDesc descriptor, const char *sql) {
    RowInsert insert = {};
    auto *columns =
        static_cast<pg::RowSetColumn *>(palloc0(sizeof(pg::RowSetColumn) * descriptor->natts));
    insert.attributes = static_cast<int *>(palloc0(sizeof(int) * descriptor->natts));
    for (int i = 0; i < descriptor->natts; i++) {
        const Form_pg_attribute attribute = TupleDescAttr(descriptor, i);
        if (IsWritten(attribute)) {
            columns[insert.count] = {pstrdup(NameStr(attribute->attname)), attribute->atttypid,
                                     attribute->atttypmod, attribute->attcollation};
            insert.attributes[insert.count++] = i;
        }
    }
    insert.values = static_cast<Datum *>(palloc0(sizeof(Datum) * (insert.count + 1)));
    insert.nulls = static_cast<bool *>(palloc0(sizeof(bool) * (insert.count + 1)));
    insert.set = pg::MakeRowSet(columns, insert.count);
    insert.plan = SPI_prepare(sql, 0, nullptr);
    if (insert.plan == nullptr) {
        elog(ERROR, "SPI_prepare: %s", SPI_result_code_string(SPI_result));
    }
    return insert;
}

void
Put(RowInsert &insert, const Datum *values, const bool *nulls) {
    for (int i = 0; i < insert.count; i++) {
        insert.values[i] = values[insert.attributes[i]];
        insert.nulls[i] = nulls[insert.attributes[i]];
    }
    pg::PutRow(insert.set, insert.values, insert.nulls);
}

// Returns the number of rows that the table has taken: a trigger or rule may leave some out.
uint64
Execute(RowInsert &insert) {
    const int code = SPI_execute_plan(insert.plan, nullptr, nullptr, false, 0);
    if (code < 0) {
        elog(ERROR, "SPI_execute_plan: %s", SPI_result_code_string(code));
    }
    const uint64 written = SPI_processed;
    pg::ClearRows(insert.set);
    return written;
}

} // namespace

std::string
InsertOfRowSet(Oid relid) {
    struct Names {
        const char *schema;
        const char *table;
        const char **columns;
        int count;
    };
    const Names names = pg::Call([relid]() -> Names {
        Relation relation = table_open(relid, AccessShareLock);
        TupleDesc descriptor = RelationGetDescr(relation);
        Names found = {
            get_namespace_name(RelationGetNamespace(relation)),
            pstrdup(RelationGetRelationName(relation)),
            static_cast<const char **>(palloc0(sizeof(char *) * (descriptor->natts + 1))), 0};
        for (int i = 0; i < descriptor->natts; i++) {
            const Form_pg_attribute attribute = TupleDescAttr(descriptor, i);
            if (IsWritten(attribute)) {
                found.columns[found.count++] = pstrdup(NameStr(attribute->attname));
            }
        }
        table_close(relation, NoLock);
        return found;
    });
    std::string list;
    for (int i = 0; i < names.count; i++) {
        list += (i == 0 ? "" : ", ") + QuoteIdentifier(names.columns[i]);
    }
    return "INSERT INTO " + QualifiedName(names.schema, names.table) + " (" + list +
           ") OVERRIDING SYSTEM VALUE SELECT " + list + " FROM " + pg::kRowSetName;
}

uint64
InsertRows(CopyFromState copy, Relation relation, const char *insert_sql, const uint64 &bytes) {
    TupleDesc descriptor = RelationGetDescr(relation);
    EState *estate = CreateExecutorState();
    ExprContext *context = GetPerTupleExprContext(estate);
    auto *values = static_cast<Datum *>(palloc0(sizeof(Datum) * descriptor->natts));
    auto *nulls = static_cast<bool *>(palloc0(sizeof(bool) * descriptor->natts));
    SPI_connect();
    RowInsert insert = PrepareInsert(descriptor, insert_sql);
    ErrorContextCallback line = {error_context_stack, CopyFromErrorCallback, copy};
    uint64 rows = 0;
    uint64 written = 0;
    for (bool more = true; more;) {
        const uint64 first_row = rows;
        const uint64 first_byte = bytes;
        error_context_stack = &line; // which line it is, for what reading it finds wrong
        while (more && rows - first_row < kBatchRows && bytes - first_byte < kBatchBytes) {
            CHECK_FOR_INTERRUPTS();
            ResetPerTupleExprContext(estate);
            const MemoryContext outer = MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));
            more = NextCopyFrom(copy, context, values, nulls);
            if (more) {
                Put(insert, values, nulls);
                rows++;
            }
            MemoryContextSwitchTo(outer);
        }
        error_context_stack = line.previous;
        if (rows > first_row) {
            written += Execute(insert);
        }
    }
    SPI_finish();
    FreeExecutorState(estate);
    return written;
}

} // namespace livemigrate::stage
