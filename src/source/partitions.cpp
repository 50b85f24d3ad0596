#include "pg/prelude.hpp"

#include "source/partitions.hpp"

#include "core/sql_text.hpp"
#include "pg/partition_tree.hpp"
#include "pg/sql_row.hpp"
#include "source/recovery_mark.hpp"

namespace livemigrate::source {

namespace {

// A key column that is an expression, NULL among the keys, is in no index of the identity.
constexpr char kListPartitions[] = R"sql(
SELECT t.relid, n.nspname, r.relname, t.bounds, m.nspname, c.relname, c.relkind <> 'p',
       c.relpersistence = 'u', t.beside, t.parent, COALESCE((
           SELECT pg_catalog.array_agg(a.attname::pg_catalog.text) @> t.keys
           FROM pg_catalog.pg_index i
           JOIN pg_catalog.pg_attribute a
             ON a.attrelid = i.indrelid AND a.attnum = ANY (
                (i.indkey::pg_catalog.int2[])[0:pg_catalog.array_upper(
                    i.indclass::pg_catalog.oid[], 1)]) -- without those that are INCLUDEd
           WHERE i.indrelid = t.relid AND CASE c.relreplident WHEN 'd' THEN i.indisprimary
                                                              WHEN 'i' THEN i.indisreplident
                                                              ELSE false END), true)
FROM tree t
JOIN pg_catalog.pg_class c ON c.oid = t.relid
JOIN pg_catalog.pg_class r ON r.oid = t.root
JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
JOIN pg_catalog.pg_namespace m ON m.oid = c.relnamespace
WHERE t.relid <> t.root
)sql";

// Attaching writes all columns of a table anew, since they are inherited then, but no system
// column: where one is of the same command as ctid, nothing was attached. (So a table all of whose
// columns have a default of their own counts as attached.) Recovery from a crash may make 0 of the
// number of any of these commands, and a change that was rolled back leaves its own number in what
// it would have written. Without that nothing is forgotten. Else a number other than 0 is true; and
// so is it that a partition was made as one if that was the transaction's command 1: what fills a
// table comes after that. VACUUM may take away what tells of a change that was rolled back: so all
// columns must say the same, but those with a default, which were written once more.
constexpr char kPartitionOrigins[] = R"sql(
SELECT o.oid, o.all_created
FROM (SELECT c.oid, m.all_created,
             r.remembers AND m.some_created IS NOT DISTINCT FROM m.all_created AND NOT EXISTS (
                 SELECT FROM pg_catalog.pg_attribute a
                 WHERE a.attrelid = c.oid AND a.attnum > 0 AND a.xmax::text <> '0') AS is_clear
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_attribute s ON s.attrelid = c.oid AND s.attnum = -1
      JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid AND i.xmin = s.xmin,
           (SELECT COALESCE(%mark% = %known%, false) AS remembers) r,
           LATERAL (
               SELECT pg_catalog.bool_or(f.is_first) AS some_created,
                      pg_catalog.bool_and(f.is_first) AS all_created
               FROM (SELECT a.xmax::text = '0' AND a.cmin = s.cmin
                            AND (r.remembers OR s.cmin::text <> '0'
                                 OR i.xmax::text = '0' AND i.cmin::text = '1') AS is_first
                     FROM pg_catalog.pg_attribute a
                     WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                       AND NOT a.atthasdef AND a.xmin = s.xmin) f) m
      WHERE c.relispartition) o
WHERE o.all_created OR NOT o.is_clear
)sql";

// A key's collation, which may be another than the column's, is not in the condition: order depends
// on it, and equality where it is nondeterministic. An expression may be a cast that runs anybody's
// function, which is not in it either.
constexpr char kPartitionConditions[] = R"sql(
WITH RECURSIVE up AS (
    SELECT i.inhrelid AS leaf, i.inhrelid AS below, i.inhparent AS above
    FROM pg_catalog.pg_inherits i WHERE i.inhrelid IN (%oids%)
    UNION ALL
    SELECT up.leaf, i.inhrelid, i.inhparent
    FROM up JOIN pg_catalog.pg_inherits i ON i.inhrelid = up.above)
SELECT up.leaf,
       CASE WHEN pg_catalog.bool_or(
                p.partstrat = 'h' OR p.partexprs IS NOT NULL
                OR pg_catalog.pg_get_expr(c.relpartbound, 0) = 'DEFAULT'
                OR EXISTS (
                    SELECT FROM pg_catalog.unnest(p.partcollation::pg_catalog.oid[]) k(collid)
                    JOIN pg_catalog.pg_collation l ON l.oid = k.collid
                    WHERE p.partstrat = 'r'
                       OR pg_catalog.to_jsonb(l)->>'collisdeterministic' = 'false'))
            THEN '' ELSE pg_catalog.pg_get_partition_constraintdef(up.leaf) END
FROM up
JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = up.above
JOIN pg_catalog.pg_class c ON c.oid = up.below
GROUP BY up.leaf
)sql";

} // namespace

std::map<uint32_t, SourcePartition>
ListPartitions(Connection &source, const WaitObserver &observer) {
    std::map<uint32_t, SourcePartition> partitions;
    const pg::SqlResult result = source.Query(
        std::string("WITH RECURSIVE ") + pg::kPartitionTree + kListPartitions, observer);
    for (const pg::SqlRow &row : result.rows) {
        partitions[pg::Number<uint32_t>(row, 0)] = {
            .schema = pg::Text(row, 4),
            .name = pg::Text(row, 5),
            .is_leaf = pg::Flag(row, 6),
            .is_unlogged = pg::Flag(row, 7),
            .root_schema = pg::Text(row, 1),
            .root_name = pg::Text(row, 2),
            .bounds = pg::Text(row, 3),
            .beside = pg::Text(row, 8),
            .parent = pg::Number<uint32_t>(row, 9),
            .key_suffices = pg::Flag(row, 10),
        };
    }
    return partitions;
}

std::map<uint32_t, std::string>
PartitionConditions(Connection &source, const std::vector<uint32_t> &oids,
                    const WaitObserver &observer) {
    std::map<uint32_t, std::string> conditions;
    std::string list;
    for (const uint32_t oid : oids) {
        conditions[oid] = ""; // of one that is no partition any more
        list += (list.empty() ? "" : ",") + std::to_string(oid);
    }
    constexpr std::string_view kPlace = "%oids%";
    std::string sql = kPartitionConditions;
    sql.replace(sql.find(kPlace), kPlace.size(), list);
    for (const pg::SqlRow &row : source.Query(sql, observer).rows) {
        conditions[pg::Number<uint32_t>(row, 0)] = pg::Text(row, 1);
    }
    return conditions;
}

RootOnSource
DescribeRoot(Connection &source, const RootOnSource::Name &root, const std::set<uint32_t> &oids,
             const std::vector<RootOnSource::Name> &names, const OriginsKnown &known,
             const WaitObserver &observer) {
    RootOnSource described;
    const std::map<uint32_t, SourcePartition> partitions = ListPartitions(source, observer);
    const PartitionOrigins origins = ListOrigins(source, known, observer);
    for (const auto &[oid, partition] : partitions) {
        if (partition.is_leaf && partition.root_schema == root.first &&
            partition.root_name == root.second) {
            described.leaves[oid] = partition;
            described.origins[oid] = OriginOf(partitions, origins, oids, oid);
        }
    }
    std::string list = "0";
    for (const uint32_t oid : oids) {
        list += "," + std::to_string(oid);
    }
    const pg::SqlResult tables =
        source.Query("SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class c JOIN "
                     "pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid IN (" +
                         list + ")",
                     observer);
    for (const pg::SqlRow &row : tables.rows) {
        described.tables[pg::Number<uint32_t>(row, 0)] = {pg::Text(row, 1), pg::Text(row, 2)};
    }
    std::vector<std::string> schemas;
    std::vector<std::string> relations;
    for (const auto &[schema, relation] : names) {
        schemas.push_back(schema);
        relations.push_back(relation);
    }
    const pg::SqlResult named = source.Query(
        "SELECT n.nspname, c.relname FROM ROWS FROM (pg_catalog.unnest(" +
            QuoteLiteral(TextArrayLiteral(schemas)) + "::text[]), pg_catalog.unnest(" +
            QuoteLiteral(TextArrayLiteral(relations)) +
            "::text[])) AS u(a, b) JOIN pg_catalog.pg_namespace n ON n.nspname = u.a::name "
            "JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = u.b::name",
        observer);
    for (const pg::SqlRow &row : named.rows) {
        described.names.emplace(pg::Text(row, 0), pg::Text(row, 1));
    }
    return described;
}

PartitionOrigins
ListOrigins(Connection &source, const OriginsKnown &known, const WaitObserver &observer) {
    PartitionOrigins origins{.created = {}, .unclear = {}, .accepted = known.accepted};
    std::string sql = kPartitionOrigins;
    ReplaceAll(sql, "%mark%", kRecoveryMark);
    ReplaceAll(sql, "%known%", QuoteLiteral(known.recovery_mark));
    for (const pg::SqlRow &row : source.Query(sql, observer).rows) {
        (pg::Flag(row, 1) ? origins.created : origins.unclear).insert(pg::Number<uint32_t>(row, 0));
    }
    return origins;
}

PartitionOrigin
OriginOf(const std::map<uint32_t, SourcePartition> &partitions, const PartitionOrigins &origins,
         const std::set<uint32_t> &known, uint32_t partition) {
    PartitionOrigin origin = PartitionOrigin::kCreated;
    if (origins.accepted.contains(partition)) {
        return origin;
    }
    for (auto at = partitions.find(partition); at != partitions.end();
         at = partitions.find(at->second.parent)) {
        if (known.contains(at->first) || origins.created.contains(at->first)) {
            continue;
        }
        if (!origins.unclear.contains(at->first)) {
            return PartitionOrigin::kAttached;
        }
        origin = PartitionOrigin::kUnclear;
    }
    return origin;
}

} // namespace livemigrate::source
