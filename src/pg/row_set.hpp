// Rows in memory (or a temporary file) that SQL statements see as a table, as triggers see their
// transition tables.
//
// C-like: everything lives in the memory context that was current in MakeRowSet(), and is gone with
// it and with the SPI connection.
#pragma once

#include "pg/prelude.hpp"

extern "C" {
#include "utils/queryenvironment.h"
#include "utils/tuplestore.h"
}

namespace livemigrate::pg {

// The name of the table in statements.
inline constexpr char kRowSetName[] = "livemigrate_rows";

struct RowSetColumn {
    const char *name;
    Oid type;
    int32 type_modifier;
    Oid collation;
};

struct RowSet {
    EphemeralNamedRelationData relation;
    Tuplestorestate *rows;
};

// An empty set, known to the statements of the current SPI connection. May ereport.
// REQUIRES: an SPI connection that has no other row set.
RowSet *MakeRowSet(const RowSetColumn *columns, int count);

// May ereport.
void PutRow(RowSet *set, Datum *values, bool *nulls);

// Makes the set empty again, for the next statement. May ereport.
void ClearRows(RowSet *set);

} // namespace livemigrate::pg
