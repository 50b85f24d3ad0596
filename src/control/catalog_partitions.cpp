// The part of the catalog that holds the source's partitions, and through which table of the target
// their rows go.

#include "control/catalog.hpp"

#include "control/catalog_columns.hpp"
#include "core/sql_text.hpp"
#include "pg/partition_tree.hpp"
#include "pg/sql_row.hpp"

#include <algorithm>

namespace livemigrate::control {

namespace {

using pg::Query;
using pg::Text;

// Through the root where that is there, and the partition is not, or has not room for all of the
// source's rows. One that is there and no partition takes its rows itself.
constexpr char kRoute[] = R"sql(,
route AS (
    SELECT p.table_id, t.source_oid,
           t.relkind = 'r' AND root.oid IS NOT NULL
               AND (leaf.oid IS NULL
                    OR leaf.relispartition AND (tree.root IS DISTINCT FROM root.oid
                                                OR tree.bounds IS DISTINCT FROM p.bounds
                                                OR NOT tree.beside <@ p.beside))
               AS through_root,
           tree.root = root.oid AS has_other_bounds
    FROM livemigrate.table_partition p
    JOIN livemigrate.table_copy t ON t.migration = p.migration AND t.id = p.table_id
    LEFT JOIN pg_catalog.pg_namespace rn ON rn.nspname = p.root_schema::name
    LEFT JOIN pg_catalog.pg_class root
      ON root.relnamespace = rn.oid AND root.relname = p.root_name::name
     AND root.relkind IN ('r', 'p')
    LEFT JOIN pg_catalog.pg_namespace ln ON ln.nspname = t.schema_name::name
    LEFT JOIN pg_catalog.pg_class leaf
      ON leaf.relnamespace = ln.oid AND leaf.relname = t.table_name::name
    LEFT JOIN tree ON tree.relid = leaf.oid
    WHERE p.migration = $1::int)
)sql";

constexpr char kRoutePartitions[] = R"sql(
UPDATE livemigrate.table_partition p SET through_root = route.through_root
FROM route
WHERE p.migration = $1::int AND p.table_id = route.table_id
  AND p.through_root <> route.through_root AND p.table_id >= $2::int
)sql";

constexpr char kToAskFor[] = R"sql(
SELECT route.source_oid
FROM route
JOIN livemigrate.table_partition p ON p.migration = $1::int AND p.table_id = route.table_id
WHERE NOT p.through_root AND route.through_root AND route.has_other_bounds
)sql";

// All partitions of the source below roots that rows go through, with their roots; and which of
// them the target lacks.
constexpr char kRearranged[] = R"sql(
SELECT p.root_schema, p.root_name, t.schema_name, t.table_name, t.relkind, c.oid IS NULL
FROM livemigrate.table_partition p
JOIN livemigrate.table_copy t ON t.migration = p.migration AND t.id = p.table_id
LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema_name::name
LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.table_name::name
WHERE p.migration = $1::int
  AND EXISTS (SELECT FROM livemigrate.table_partition o
              WHERE o.migration = p.migration AND o.root_schema = p.root_schema
                AND o.root_name = p.root_name AND o.through_root)
ORDER BY t.id
)sql";

// The heaps that the target has for these roots, by the root: the root itself if it is one, or has
// no partitions.
constexpr char kHeaps[] = R"sql(
WITH RECURSIVE below AS (
    SELECT DISTINCT p.root_schema, p.root_name, root.oid
    FROM livemigrate.table_partition p
    JOIN pg_catalog.pg_namespace n ON n.nspname = p.root_schema::name
    JOIN pg_catalog.pg_class root
      ON root.relnamespace = n.oid AND root.relname = p.root_name::name
    WHERE p.migration = $1::int AND p.through_root
    UNION ALL
    SELECT b.root_schema, b.root_name, i.inhrelid
    FROM below b
    JOIN pg_catalog.pg_inherits i ON i.inhparent = b.oid
    JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition)
SELECT b.root_schema, b.root_name, n.nspname, c.relname
FROM below b
JOIN pg_catalog.pg_class c ON c.oid = b.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = b.oid)
)sql";

// Of rows that have nothing else.
std::set<uint32_t>
ReadOids(const pg::SqlResult &result) {
    std::set<uint32_t> oids;
    for (const pg::SqlRow &row : result.rows) {
        oids.insert(pg::Number<uint32_t>(row, 0));
    }
    return oids;
}

} // namespace

void
InsertPartitions(int32_t id, const std::map<uint32_t, source::SourcePartition> &partitions) {
    Columns columns(8);
    for (const auto &[oid, partition] : partitions) {
        columns.Add(0, std::to_string(oid));
        columns.Add(1, partition.root_schema);
        columns.Add(2, partition.root_name);
        columns.Add(3, partition.bounds);
        columns.Add(4, pg::BoolText(partition.key_suffices));
        columns.Add(5, pg::BoolText(partition.is_leaf));
        columns.Add(6, QualifiedName(partition.schema, partition.name));
        columns.Add(7, partition.beside);
    }
    Query("WITH u AS (SELECT t.id, t.copy_data, u.* FROM ROWS FROM (pg_catalog.unnest($2::text[]), "
          "pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::text[]), "
          "pg_catalog.unnest($5::text[]), pg_catalog.unnest($6::text[]), "
          "pg_catalog.unnest($7::text[]), pg_catalog.unnest($8::text[]), "
          "pg_catalog.unnest($9::text[])) AS u(a, b, c, d, e, f, g, h) LEFT JOIN "
          "livemigrate.table_copy t "
          "ON t.migration = $1::int AND t.source_oid = u.a::oid), "
          "l AS (SELECT b, c, pg_catalog.min(g) AS name FROM u "
          "WHERE f::boolean AND copy_data IS NOT TRUE GROUP BY 1, 2) "
          "INSERT INTO livemigrate.table_partition (migration, table_id, root_schema, root_name, "
          "bounds, key_suffices, left_out, beside) SELECT $1::int, u.id, u.b, u.c, u.d, "
          "u.e::boolean, l.name, u.h::text[] FROM u LEFT JOIN l ON l.b = u.b AND l.c = u.c WHERE "
          "u.id IS NOT NULL "
          "ON CONFLICT (migration, table_id) DO NOTHING",
          columns.Parameters(id));
}

std::set<uint32_t>
PartitionsToAskFor(int32_t id) {
    return ReadOids(Query(std::string("WITH RECURSIVE ") + pg::kPartitionTree + kRoute + kToAskFor,
                          {std::to_string(id)}));
}

void
SetBounds(int32_t id, const std::map<uint32_t, source::SourcePartition> &partitions) {
    for (const auto &[oid, partition] : partitions) {
        Query("UPDATE livemigrate.table_partition p SET bounds = $3, "
              "beside = p.beside || $4::text[] FROM livemigrate.table_copy t "
              "WHERE p.migration = $1::int AND t.migration = p.migration AND t.id = p.table_id "
              "AND t.source_oid = $2::oid",
              {std::to_string(id), std::to_string(oid), partition.bounds, partition.beside});
    }
}

uint64_t
RoutePartitions(int32_t id, int32_t first_table) {
    return Query(std::string("WITH RECURSIVE ") + pg::kPartitionTree + kRoute + kRoutePartitions,
                 {std::to_string(id), std::to_string(first_table)})
        .processed;
}

bool
HasParts(int32_t id) {
    return Query("SELECT FROM livemigrate.copy_part WHERE migration = $1::int LIMIT 1",
                 {std::to_string(id)})
               .processed > 0;
}

std::map<int32_t, RoutedPartition>
RoutedPartitions(int32_t id) {
    std::map<int32_t, RoutedPartition> partitions;
    const pg::SqlResult result =
        Query("SELECT table_id, key_suffices, left_out FROM livemigrate.table_partition "
              "WHERE migration = $1::int AND through_root",
              {std::to_string(id)});
    for (const pg::SqlRow &row : result.rows) {
        partitions[pg::Number<int32_t>(row, 0)] = {pg::Flag(row, 1), Text(row, 2)};
    }
    return partitions;
}

std::map<int32_t, uint32_t>
PartitionsWithoutCondition(int32_t id) {
    std::map<int32_t, uint32_t> partitions;
    const pg::SqlResult result =
        Query("SELECT p.table_id, t.source_oid FROM livemigrate.table_partition p "
              "JOIN livemigrate.table_copy t ON t.migration = p.migration AND t.id = p.table_id "
              "WHERE p.migration = $1::int AND p.through_root AND p.condition IS NULL",
              {std::to_string(id)});
    for (const pg::SqlRow &row : result.rows) {
        partitions[pg::Number<int32_t>(row, 0)] = pg::Number<uint32_t>(row, 1);
    }
    return partitions;
}

void
SetPartitionConditions(int32_t id, const std::map<int32_t, std::string> &conditions) {
    Columns columns(2);
    for (const auto &[table, condition] : conditions) {
        columns.Add(0, std::to_string(table));
        columns.Add(1, condition);
    }
    Query("UPDATE livemigrate.table_partition p SET condition = u.b FROM ROWS FROM ("
          "pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[])) AS u(a, b) "
          "WHERE p.migration = $1::int AND p.table_id = u.a::int",
          columns.Parameters(id));
}

std::set<uint32_t>
AcceptedPartitions(int32_t id) {
    return ReadOids(Query("SELECT key FROM livemigrate.conflict WHERE migration = $1::int "
                          "AND kind = 'partition' AND resolution = 'accepted'",
                          {std::to_string(id)}));
}

void
AcceptPartitions(int32_t id) {
    Query("UPDATE livemigrate.conflict c SET resolution = 'accepted' FROM livemigrate.migration m "
          "WHERE m.id = $1::int AND c.migration = m.id AND c.kind = 'partition' "
          "AND c.resolution IS NULL AND m.state = 'failed' AND m.last_error = c.message "
          "AND NOT EXISTS (SELECT FROM livemigrate.skipped_transaction s "
          "WHERE s.migration = m.id AND s.skipped_at IS NULL AND s.commit_lsn = c.end_lsn)",
          {std::to_string(id)});
}

RearrangedTables
LoadRearranged(int32_t id) {
    RearrangedTables tables;
    std::map<RearrangedTables::Name, std::set<RearrangedTables::Name>> partitioned;
    for (const pg::SqlRow &row : Query(kRearranged, {std::to_string(id)}).rows) {
        const RearrangedTables::Name root(Text(row, 0), Text(row, 1));
        const RearrangedTables::Name table(Text(row, 2), Text(row, 3));
        if (Text(row, 4) == "r") {
            tables.leaves[root].push_back(table);
        } else {
            partitioned[root].insert(table);
        }
        if (pg::Flag(row, 5)) {
            tables.missing.insert(table);
        }
    }
    for (const pg::SqlRow &row : Query(kHeaps, {std::to_string(id)}).rows) {
        const RearrangedTables::Name root(Text(row, 0), Text(row, 1));
        const std::vector<RearrangedTables::Name> &leaves = tables.leaves[root];
        if (std::find(leaves.begin(), leaves.end(),
                      RearrangedTables::Name(Text(row, 2), Text(row, 3))) == leaves.end()) {
            tables.others.insert(root);
            tables.others.insert(partitioned[root].begin(), partitioned[root].end());
        }
    }
    return tables;
}

} // namespace livemigrate::control
