#include "pg/prelude.hpp"

#include "source/catalog_query.hpp"

#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"
#include "source/locked_relations.hpp"
#include "source/recovery_mark.hpp"

namespace livemigrate::source {

namespace {

// Operators and types resolve in pg_catalog alone: every connection has an empty search_path.
constexpr char kDescribeSource[] = R"sql(
SELECT pg_catalog.current_setting('server_version_num'),
       pg_catalog.current_setting('server_version'),
       pg_catalog.pg_encoding_to_char(d.encoding),
       d.datname, d.datcollate, d.datctype,
       (SELECT s.system_identifier FROM pg_catalog.pg_control_system() s),
       (SELECT c.timeline_id FROM pg_catalog.pg_control_checkpoint() c),
       pg_catalog.pg_is_in_recovery(),
       r.rolname, r.rolsuper,
       r.rolsuper OR r.rolreplication OR EXISTS (
           SELECT FROM pg_catalog.pg_roles g
           WHERE g.rolname = 'rds_replication' AND pg_catalog.pg_has_role(g.oid, 'MEMBER')),
       pg_catalog.has_database_privilege(d.oid, 'CREATE'),
       pg_catalog.host(pg_catalog.inet_client_addr()),
       pg_catalog.current_setting('wal_level'),
       pg_catalog.current_setting('max_replication_slots'),
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots),
       pg_catalog.current_setting('max_wal_senders'),
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_replication),
       pg_catalog.current_setting('max_connections')::int8
           - pg_catalog.current_setting('superuser_reserved_connections')::int8
           - COALESCE(pg_catalog.current_setting('reserved_connections', true), '0')::int8
           - (SELECT pg_catalog.sum(numbackends) FROM pg_catalog.pg_stat_database)::int8,
       pg_catalog.current_setting('max_locks_per_transaction')::int8
           * (pg_catalog.current_setting('max_connections')::int8
              + pg_catalog.current_setting('max_prepared_transactions')::int8),
       pg_catalog.current_setting('max_locks_per_transaction'),
       pg_catalog.current_setting('max_slot_wal_keep_size', true),
       pg_catalog.current_setting('idle_replication_slot_timeout', true),
       pg_catalog.current_setting('old_snapshot_threshold', true),
       %mark%
FROM pg_catalog.pg_database d, pg_catalog.pg_roles r
WHERE d.datname = pg_catalog.current_database() AND r.rolname = current_user
)sql";

// Opening each table to look at its files takes most of the time, and is left out where the sizes
// are not wanted. The common table expressions are read once each, so that nothing is done per
// table but what has to be: two stat() for the sizes. A replica identity is usable as
// RelationGetIndexList() and RelationGetReplicaIndex() see it: valid, immediate, chosen; and if the
// stream has all of its columns, which the source does not look at before 18: until then pgoutput
// leaves every generated column out, from 18 our publication sends the stored ones, and the source
// refuses UPDATE and DELETE where a virtual one is part of the identity
// (pub_contains_invalid_column() of publicationcmds.c).
constexpr char kListTables[] = R"sql(,
member AS (
    SELECT objid FROM pg_catalog.pg_depend
    WHERE classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND deptype = 'e'),
config AS (
    SELECT f.relid, f.condition
    FROM pg_catalog.pg_extension e,
         ROWS FROM (pg_catalog.unnest(e.extconfig), pg_catalog.unnest(e.extcondition))
             AS f(relid, condition)),
unsent AS (
    SELECT a.attrelid, pg_catalog.array_agg(a.attnum) AS columns
    FROM pg_catalog.pg_attribute a
    WHERE a.attnum > 0 AND NOT a.attisdropped AND %unsent%
    GROUP BY a.attrelid),
key AS (
    SELECT i.indrelid,
           pg_catalog.bool_or(i.indisprimary) AS has_primary,
           pg_catalog.bool_or(i.indisprimary AND is_usable) AS usable_primary,
           pg_catalog.bool_or(i.indisreplident AND is_usable) AS usable_index,
           pg_catalog.bool_or((i.indisprimary OR i.indisreplident) AND has_unsent) AS has_unsent,
           pg_catalog.bool_or(NOT i.indimmediate) AS is_deferrable
    FROM pg_catalog.pg_index i
    LEFT JOIN unsent ON unsent.attrelid = i.indrelid
    CROSS JOIN LATERAL (
        SELECT COALESCE(unsent.columns && i.indkey::int2[], false) AS has_unsent) s
    CROSS JOIN LATERAL (
        SELECT i.indisvalid AND i.indimmediate AND NOT s.has_unsent AS is_usable) u
    GROUP BY i.indrelid),
lossy AS (
    SELECT DISTINCT a.attrelid FROM pg_catalog.pg_attribute a
    WHERE a.attnum > 0 AND NOT a.attisdropped
      AND a.atttypid IN ('pg_catalog.float4'::pg_catalog.regtype,
                         'pg_catalog.float8'::pg_catalog.regtype,
                         'pg_catalog.numeric'::pg_catalog.regtype)),
user_table AS (
    SELECT c.oid AS relid, c.*, n.nspname, config.condition, config.relid IS NOT NULL AS is_config,
           COALESCE(key.has_primary, false) AS has_primary,
           COALESCE(key.usable_primary, false) AS usable_primary,
           COALESCE(key.is_deferrable, false) AS is_deferrable,
           CASE c.relreplident WHEN 'f' THEN NOT %full_is_checked% OR unsent.attrelid IS NULL
                               WHEN 'd' THEN COALESCE(key.usable_primary, false)
                               WHEN 'i' THEN COALESCE(key.usable_index, false)
                               ELSE false END AS usable,
           CASE c.relreplident WHEN 'n' THEN false
                               WHEN 'f' THEN %full_is_checked% AND unsent.attrelid IS NOT NULL
                               ELSE COALESCE(key.has_unsent, false) END AS has_unsent_key,
           NOT %full_is_checked% OR unsent.attrelid IS NULL AS is_full_usable,
           unsent.columns AS unsent_columns,
           lossy.attrelid IS NOT NULL AS is_lossy,
           locked.relation IS NOT NULL AS is_locked,
           COALESCE(toast.relpages, 0) AS toast_pages
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN member ON member.objid = c.oid
    LEFT JOIN config ON config.relid = c.oid
    LEFT JOIN key ON key.indrelid = c.oid
    LEFT JOIN unsent ON unsent.attrelid = c.oid
    LEFT JOIN lossy ON lossy.attrelid = c.oid
    LEFT JOIN locked ON locked.relation = c.oid
    LEFT JOIN pg_catalog.pg_class toast ON toast.oid = c.reltoastrelid
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND (member.objid IS NULL OR config.relid IS NOT NULL))
SELECT t.relid, t.nspname, t.relname, t.relkind, t.relpersistence,
       CASE WHEN t.relkind = 'p' THEN 0
            WHEN t.is_locked OR NOT (%measured%) THEN t.relpages
            ELSE pg_catalog.pg_relation_size(t.relid)
                 / pg_catalog.current_setting('block_size')::int8 END,
       CASE WHEN t.relkind = 'p' THEN 0
            WHEN t.is_locked OR NOT (%measured%) THEN
                (t.relpages + %toast_pages%) * pg_catalog.current_setting('block_size')::int8
            ELSE pg_catalog.pg_table_size(t.relid) END,
       t.reltuples::int8, t.relfilenode, t.relreplident, t.usable, t.has_primary, t.usable_primary,
       t.is_deferrable, t.has_unsent_key, t.is_full_usable,
       CASE WHEN NOT t.usable THEN (
           SELECT pg_catalog.min(x.relname::text)
           FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
           WHERE i.indrelid = t.relid AND i.indisunique AND i.indimmediate AND i.indisvalid
             AND i.indisready AND i.indislive AND NOT i.indisprimary
             AND i.indpred IS NULL AND i.indexprs IS NULL
             AND NOT COALESCE(t.unsent_columns && i.indkey::int2[], false)
             AND NOT EXISTS (
                 SELECT FROM pg_catalog.unnest(i.indkey::int2[]) k(attnum)
                 LEFT JOIN pg_catalog.pg_attribute a
                   ON a.attrelid = t.relid AND a.attnum = k.attnum AND a.attnum > 0
                 WHERE a.attnotnull IS NOT TRUE)) END,
       t.relispartition,
       CASE WHEN t.relispartition THEN (
           SELECT h.inhparent FROM pg_catalog.pg_inherits h WHERE h.inhrelid = t.relid) END,
       t.relrowsecurity AND pg_catalog.row_security_active(t.relid),
       pg_catalog.pg_get_userbyid(t.relowner), pg_catalog.pg_has_role(t.relowner, 'USAGE'),
       pg_catalog.has_table_privilege(t.relid, 'SELECT'),
       t.is_lossy, t.is_config, t.condition,
       pg_catalog.pg_stat_get_tuples_updated(t.relid)
           + pg_catalog.pg_stat_get_tuples_deleted(t.relid)
FROM user_table t
ORDER BY t.nspname, t.relname
)sql";

// Of a table whose rows were counted. ANALYZE does not count those of the TOAST table, and VACUUM
// need not have looked at one that is only written to, before 13 not at all: then the statistics
// tell whether it has grown, or if they were reset, one that may not be empty is measured.
constexpr char kToastPages[] = R"sql(
    CASE WHEN t.reltoastrelid = 0 OR t.is_locked THEN t.toast_pages
         WHEN pg_catalog.%inserted%(t.reltoastrelid) > 0
              OR (t.toast_pages = 0 AND t.relpages > 0
                  AND pg_catalog.pg_stat_get_tuples_inserted(t.relid) = 0)
         THEN pg_catalog.pg_relation_size(t.reltoastrelid)
              / pg_catalog.current_setting('block_size')::int8
         ELSE t.toast_pages END)sql";

constexpr char kListOtherRelations[] = R"sql(
SELECT c.oid, n.nspname, c.relname, c.relkind
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_depend d
  ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e'
WHERE c.relkind IN ('f', 'm') AND d.objid IS NULL
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY n.nspname, c.relname
)sql";

char
Character(const pg::SqlRow &row, size_t column) {
    const std::string text = pg::Text(row, column);
    return text.empty() ? '\0' : text[0];
}

// Reads the columns of a row one after the other, in the order of the query.
class RowReader {
  public:
    explicit RowReader(const pg::SqlRow &row) : row_(row) {}

    void
    operator()(std::string &value) {
        value = pg::Text(row_, column_++);
    }
    void
    operator()(bool &value) {
        value = pg::Flag(row_, column_++);
    }
    void
    operator()(char &value) {
        value = Character(row_, column_++);
    }
    template <typename T>
    void
    operator()(T &value) {
        value = pg::Number<T>(row_, column_++);
    }

  private:
    const pg::SqlRow &row_;
    size_t column_ = 0;
};

SourceTable
ReadTable(const pg::SqlRow &row) {
    SourceTable table;
    RowReader read(row);
    read(table.oid);
    read(table.schema);
    read(table.name);
    read(table.relkind);
    read(table.persistence);
    read(table.pages);
    read(table.bytes);
    read(table.rows_estimate);
    read(table.filenode);
    read(table.replica_identity);
    read(table.identity_usable);
    read(table.has_primary_key);
    read(table.primary_key_usable);
    read(table.deferrable_key);
    read(table.unsent_key);
    read(table.full_usable);
    read(table.candidate_index);
    read(table.is_partition);
    read(table.parent_oid);
    read(table.row_security);
    read(table.owner);
    read(table.is_owner);
    read(table.can_select);
    read(table.has_lossy_column);
    read(table.is_extension_config);
    read(table.extension_condition);
    read(table.rows_changed);
    return table;
}

} // namespace

SourceInfo
DescribeSource(Connection &connection) {
    std::string sql = kDescribeSource;
    ReplaceAll(sql, "%mark%", kRecoveryMark);
    const pg::SqlResult result = connection.Query(sql);
    SourceInfo info;
    RowReader read(result.rows.at(0));
    read(info.version_num);
    read(info.version);
    read(info.encoding);
    read(info.database);
    read(info.collate);
    read(info.ctype);
    read(info.system_identifier);
    read(info.timeline);
    read(info.in_recovery);
    read(info.role);
    read(info.is_superuser);
    read(info.can_replicate);
    read(info.can_create_in_database);
    read(info.client_address);
    read(info.wal_level);
    read(info.max_replication_slots);
    read(info.used_replication_slots);
    read(info.max_wal_senders);
    read(info.used_wal_senders);
    read(info.free_connections);
    read(info.lock_table_size);
    read(info.max_locks_per_transaction);
    read(info.max_slot_wal_keep_size);
    read(info.idle_replication_slot_timeout);
    read(info.old_snapshot_threshold);
    read(info.recovery_mark);
    return info;
}

// Generated columns came with this version.
constexpr int kGeneratedVersion = 120000;

// A condition on t of kListTables. Before 14 pg_class does not tell a table that was found empty
// from one that nobody has looked at; and one that was found empty may have been filled since.
std::string
WhatIsMeasured(int version, TableSizes sizes) {
    constexpr int kKnowsUncounted = 140000;
    switch (sizes) {
    case TableSizes::kMeasured:
        return "true";
    case TableSizes::kAsCounted:
        return "false";
    case TableSizes::kWhereCounted:
        break;
    }
    return version >= kKnowsUncounted ? "t.reltuples < 0 OR NOT t.usable OR (t.relpages = 0 AND "
                                        "pg_catalog.pg_stat_get_tuples_inserted(t.relid) > 0)"
                                      : "t.relpages = 0 OR NOT t.usable";
}

std::vector<SourceTable>
ListTables(Connection &connection, TableSizes sizes) {
    const int version = connection.server_version();
    std::string sql = std::string("WITH ") + kLockedRelations + kListTables;
    ReplaceAll(sql, "%measured%", WhatIsMeasured(version, sizes));
    ReplaceAll(sql, "%toast_pages%",
               sizes == TableSizes::kWhereCounted ? kToastPages : "t.toast_pages");
    constexpr int kCountsSinceVacuum = 130000;
    ReplaceAll(sql, "%inserted%",
               version >= kCountsSinceVacuum ? "pg_stat_get_ins_since_vacuum"
                                             : "pg_stat_get_tuples_inserted");
    ReplaceAll(sql, "%full_is_checked%", pg::BoolText(version >= kSendsGeneratedVersion));
    ReplaceAll(sql, "%unsent%",
               version >= kSendsGeneratedVersion ? "a.attgenerated = 'v'"
               : version >= kGeneratedVersion    ? "a.attgenerated <> ''"
                                                 : "false");
    // With thousands of tables the plan's cost lets the source compile it, which takes longer than
    // running it: seconds. The setting came with 11.
    constexpr int kFirstWithJit = 110000;
    const bool has_jit = version >= kFirstWithJit;
    if (has_jit) {
        connection.Query("SET jit = off");
    }
    std::vector<SourceTable> tables;
    for (const pg::SqlRow &row : connection.Query(sql).rows) {
        tables.push_back(ReadTable(row));
    }
    if (has_jit) {
        connection.Query("RESET jit");
    }
    return tables;
}

Filenodes
ListFilenodes(Connection &connection) {
    Filenodes files;
    for (const pg::SqlRow &row :
         connection.Query("SELECT oid, relfilenode FROM pg_catalog.pg_class WHERE relkind = 'r'")
             .rows) {
        files[pg::Number<uint32_t>(row, 0)] = pg::Number<uint32_t>(row, 1);
    }
    return files;
}

void
CheckSystemIdentifier(const std::string &found, const std::string &expected,
                      const std::string &call) {
    if (found != expected) {
        throw Error(sqlstate::kObjectNotInPrerequisiteState,
                    "the source is another server than the one the migration began with")
            .Detail("Its system identifier is " + found + ", not " + expected + ".")
            .Hint("Let the connection string lead to the original source, then run: " + call);
    }
}

void
CheckSameServer(Connection &connection, const std::string &expected, const std::string &call) {
    CheckSystemIdentifier(
        connection.Query("SELECT system_identifier FROM pg_catalog.pg_control_system()")
            .Scalar()
            .value_or(""),
        expected, call);
}

std::vector<SourceRelation>
ListOtherRelations(Connection &connection) {
    std::vector<SourceRelation> relations;
    for (const pg::SqlRow &row : connection.Query(kListOtherRelations).rows) {
        relations.push_back(
            {pg::Number<uint32_t>(row, 0), pg::Text(row, 1), pg::Text(row, 2), Character(row, 3)});
    }
    return relations;
}

} // namespace livemigrate::source
