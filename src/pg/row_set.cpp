#include "pg/row_set.hpp"

namespace livemigrate::pg {

namespace {

// Before rows go to a temporary file.
constexpr int kMemoryKilobytes = 16 << 10;

Tuplestorestate *
NewRows() {
    return tuplestore_begin_heap(false, false, kMemoryKilobytes);
}

} // namespace

RowSet *
MakeRowSet(const RowSetColumn *columns, int count) {
    TupleDesc descriptor = CreateTemplateTupleDesc(count);
    for (int i = 0; i < count; i++) {
        const auto attribute = static_cast<AttrNumber>(i + 1);
        TupleDescInitEntry(descriptor, attribute, columns[i].name, columns[i].type,
                           columns[i].type_modifier, 0);
        TupleDescInitEntryCollation(descriptor, attribute, columns[i].collation);
    }
    auto *set = static_cast<RowSet *>(palloc0(sizeof(RowSet)));
    set->rows = NewRows();
    set->relation.md.name = const_cast<char *>(kRowSetName);
    set->relation.md.tupdesc = descriptor;
    set->relation.md.enrtype = ENR_NAMED_TUPLESTORE;
    set->relation.reldata = set->rows;
    const int code = SPI_register_relation(&set->relation);
    if (code != SPI_OK_REL_REGISTER) {
        elog(ERROR, "SPI_register_relation: %s", SPI_result_code_string(code));
    }
    return set;
}

void
PutRow(RowSet *set, Datum *values, bool *nulls) {
    tuplestore_putvalues(set->rows, set->relation.md.tupdesc, values, nulls);
    set->relation.md.enrtuples += 1;
}

void
ClearRows(RowSet *set) {
    // A new store: each scan has left a read pointer in the old one.
    tuplestore_end(set->rows);
    set->rows = NewRows();
    set->relation.reldata = set->rows;
    set->relation.md.enrtuples = 0;
}

} // namespace livemigrate::pg
