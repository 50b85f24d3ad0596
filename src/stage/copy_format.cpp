#include "stage/copy_format.hpp"

#include "pg/guard.hpp"
#include "pg/portable_type.hpp"
#include "pg/sql_row.hpp"

#include <algorithm>

namespace livemigrate::stage {

namespace {

// Enums travel as their labels, whatever the type's OID. Arrays name their element's OID, so that
// must be one of the built-in ones.
bool
IsSameOnBothSides(const CopyColumn &source, const CopyColumn &target, int source_version) {
    if (source.type_kind == TYPTYPE_ENUM) {
        return target.type_kind == TYPTYPE_ENUM;
    }
    return source.base_type == target.base_type &&
           pg::HasPortableBinaryForm(source.base_type, source.element_type, source_version);
}

} // namespace

ColumnsOfTables
ListCopyColumns(source::Connection &source, const std::vector<uint32_t> &table_oids) {
    const std::string generated = source.server_version() >= 120000 ? " AND attgenerated = ''" : "";
    std::string oids;
    for (const uint32_t oid : table_oids) {
        oids += (oids.empty() ? "" : ",") + std::to_string(oid);
    }
    const pg::SqlResult result = source.Query(
        "WITH RECURSIVE stored AS (SELECT attrelid, attnum, attname, atttypid AS type "
        "FROM pg_catalog.pg_attribute WHERE attrelid IN (" +
        oids + ") AND attnum > 0 AND NOT attisdropped" + generated +
        "), base AS (SELECT * FROM stored UNION ALL "
        "SELECT b.attrelid, b.attnum, b.attname, t.typbasetype "
        "FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.type WHERE t.typtype = 'd') "
        "SELECT b.attrelid, b.attname, t.oid, "
        "CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE 0 END, "
        "t.typtype FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.type "
        "WHERE t.typtype <> 'd' ORDER BY b.attrelid, b.attnum");
    ColumnsOfTables columns;
    for (const pg::SqlRow &row : result.rows) {
        columns[pg::Number<uint32_t>(row, 0)].push_back(
            {pg::Text(row, 1), pg::Number<uint32_t>(row, 2), pg::Number<uint32_t>(row, 3),
             pg::Text(row, 4).at(0)});
    }
    return columns;
}

bool
CanCopyBinary(const std::vector<CopyColumn> &columns, Oid target, int source_version) {
    return std::all_of(columns.begin(), columns.end(),
                       [target, source_version](const CopyColumn &source) {
                           CopyColumn there;
                           pg::Call([&] {
                               const AttrNumber attribute = get_attnum(target, source.name.c_str());
                               if (attribute == InvalidAttrNumber) {
                                   return; // COPY says so
                               }
                               there.base_type = getBaseType(get_atttype(target, attribute));
                               there.type_kind = get_typtype(there.base_type);
                           });
                           return IsSameOnBothSides(source, there, source_version);
                       });
}

} // namespace livemigrate::stage
