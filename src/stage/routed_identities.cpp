#include "pg/prelude.hpp"

#include "stage/routed_identities.hpp"

#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

namespace livemigrate::stage {

namespace {

constexpr char kUp[] = R"sql(
WITH RECURSIVE up AS (
    SELECT i.inhrelid AS leaf, i.inhparent AS above
    FROM pg_catalog.pg_inherits i
    JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition AND c.relkind = 'r'
    UNION ALL
    SELECT up.leaf, i.inhparent
    FROM up JOIN pg_catalog.pg_inherits i ON i.inhrelid = up.above),
)sql";

// Of extension citext it is the type, whatever else that has: see pg/partition_routing.
constexpr char kRouted[] = R"sql(
hashed AS (
    SELECT p.partrelid AS relid, a.atttypid AS type, k.collid
    FROM pg_catalog.pg_partitioned_table p
    CROSS JOIN LATERAL ROWS FROM (
        pg_catalog.unnest(p.partattrs::int2[]), pg_catalog.unnest(p.partcollation::oid[]))
        AS k(attnum, collid)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = k.attnum
    WHERE p.partstrat = 'h'
    UNION
    SELECT h.relid, part.type, part.collid
    FROM hashed h
    JOIN pg_catalog.pg_type t ON t.oid = h.type
    CROSS JOIN LATERAL (
        SELECT t.typbasetype, h.collid WHERE t.typtype = 'd'
        UNION ALL
        SELECT t.typelem, h.collid WHERE t.typtype = 'b' AND t.typelem <> 0
        UNION ALL
        SELECT r.rngsubtype, r.rngcollation FROM pg_catalog.pg_range r
        WHERE t.oid IN (r.rngtypid, %multirange%)
        UNION ALL
        SELECT a.atttypid, a.attcollation FROM pg_catalog.pg_attribute a
        WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0
          AND NOT a.attisdropped) AS part(type, collid)),
routed AS (
    SELECT DISTINCT up.leaf
    FROM up
    JOIN hashed h ON h.relid = up.above
    JOIN pg_catalog.pg_type t ON t.oid = h.type
    LEFT JOIN pg_catalog.pg_collation l ON l.oid = h.collid
    WHERE t.typtype = 'e' OR %nondeterministic% OR t.oid IN (
        SELECT d.objid FROM pg_catalog.pg_depend d
        JOIN pg_catalog.pg_extension x ON x.oid = d.refobjid AND x.extname = 'citext'
        WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.deptype = 'e')),
)sql";

constexpr char kWithoutKey[] = R"sql(
identity AS (
    SELECT r.leaf,
           (SELECT pg_catalog.array_agg(a.attname::text) FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = r.leaf AND a.attnum = ANY (
                (i.indkey::int2[])[0:pg_catalog.array_upper(i.indclass::pg_catalog.oid[], 1)])
           ) AS names -- without those that are INCLUDEd
    FROM routed r
    JOIN pg_catalog.pg_class c ON c.oid = r.leaf
    JOIN pg_catalog.pg_index i
      ON i.indrelid = r.leaf AND CASE c.relreplident WHEN 'd' THEN i.indisprimary
                                                     WHEN 'i' THEN i.indisreplident END)
SELECT DISTINCT identity.leaf
FROM identity
JOIN up USING (leaf)
JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = up.above
CROSS JOIN LATERAL pg_catalog.unnest(p.partattrs::int2[]) k(attnum)
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = k.attnum
WHERE a.attname IS NULL OR a.attname::text <> ALL (identity.names)
)sql";

std::string
Routed(int version) {
    constexpr int kMultirangeVersion = 140000;
    constexpr int kNondeterministicVersion = 120000;
    std::string sql = kRouted;
    ReplaceAll(sql, "%multirange%", version >= kMultirangeVersion ? "r.rngmultitypid" : "0");
    ReplaceAll(sql, "%nondeterministic%",
               version >= kNondeterministicVersion ? "NOT l.collisdeterministic" : "false");
    return sql;
}

std::vector<uint32_t>
ListOids(source::Connection &source, const std::string &sql) {
    std::vector<uint32_t> oids;
    for (const pg::SqlRow &row : source.Query(sql).rows) {
        oids.push_back(pg::Number<uint32_t>(row, 0));
    }
    return oids;
}

} // namespace

std::vector<uint32_t>
FindRoutedWithoutKey(source::Connection &source) {
    return ListOids(source, kUp + Routed(source.server_version()) + kWithoutKey);
}

std::vector<uint32_t>
FindWithoutPartitionKey(source::Connection &source, const std::vector<uint32_t> &leaves) {
    std::string list;
    for (const uint32_t leaf : leaves) {
        list += (list.empty() ? "" : ",") + std::to_string(leaf);
    }
    return ListOids(source, std::string(kUp) + "routed AS (SELECT pg_catalog.unnest('{" + list +
                                "}'::pg_catalog.oid[]) AS leaf)," + kWithoutKey);
}

std::string
RoutedWithoutKey(const std::string &name) {
    return "table " + name +
           " has a replica identity without the partition key: as it is partitioned by the hash of "
           "an enum or of citext, or by a nondeterministic collation, its rows are found through "
           "the topmost table on the target, where others may have the same key";
}

} // namespace livemigrate::stage
