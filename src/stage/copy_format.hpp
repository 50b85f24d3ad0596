// Whether a table's rows may travel in COPY's binary format: only if every column's type is known
// to have the same binary form on both servers, whatever their versions. Text otherwise.
#pragma once

#include "pg/prelude.hpp"

#include "source/connection.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace livemigrate::stage {

// A stored column of the source's table; domains are told by what they are made of.
struct CopyColumn {
    std::string name;
    uint32_t base_type = 0;    // pg_type.oid
    uint32_t element_type = 0; // of an array; 0 for others
    char type_kind = 0;        // pg_type.typtype of base_type
};

// All columns that are stored, in order, of each of these tables of the source, by their OID.
// Generated ones are computed again on the target.
using ColumnsOfTables = std::map<uint32_t, std::vector<CopyColumn>>;
ColumnsOfTables ListCopyColumns(source::Connection &source,
                                const std::vector<uint32_t> &table_oids);

// REQUIRES: an open transaction; the target's table is locked or made by it.
bool CanCopyBinary(const std::vector<CopyColumn> &columns, Oid target, int source_version);

} // namespace livemigrate::stage
