/* livemigrate--0.1.0.sql: the SQL surface. Contract: names, arguments and columns never change. */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION livemigrate" to load this file. \quit

-- Whoever owns the schema can put functions beside ours.
DO $$
BEGIN
  IF NOT (SELECT r.rolsuper FROM pg_catalog.pg_namespace n
          JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) n.nspowner
          WHERE n.nspname OPERATOR(pg_catalog.=) 'livemigrate') THEN
    RAISE insufficient_privilege USING
      MESSAGE = 'schema "livemigrate" belongs to a role that is no superuser',
      DETAIL = 'Its owner could replace what the extension puts there.',
      HINT = 'See what it holds, then run: DROP SCHEMA livemigrate CASCADE;';
  END IF;
END
$$;

-- ---------------------------------------------------------------------------------------------
-- State. Only src/control/catalog writes here, and each transition in one place of it.
-- ---------------------------------------------------------------------------------------------

CREATE TABLE migration (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name name NOT NULL,
  owner oid NOT NULL,
  source text NOT NULL,              -- conninfo, maybe with a password: never shown
  source_redacted text NOT NULL,
  requested_plugin text NOT NULL,
  plugin text,
  wal2json_numeric_option boolean,
  pause_after text[] NOT NULL,
  table_jobs int NOT NULL,
  index_jobs int NOT NULL,
  split_bytes bigint NOT NULL,
  include_tables text[],
  exclude_tables text[] NOT NULL,
  exclude_table_data text[] NOT NULL,
  roles boolean NOT NULL,
  restore_owner boolean NOT NULL,
  restore_privileges boolean NOT NULL,
  on_existing text NOT NULL,
  options jsonb NOT NULL,

  stage text NOT NULL DEFAULT 'preflight',
  stage_ended boolean NOT NULL DEFAULT false,
  state text NOT NULL DEFAULT 'running',
  requested_state text,              -- 'paused': what a session asked the coordinator for
  message text,
  hint text,
  attempts int NOT NULL DEFAULT 0,
  next_attempt_at timestamptz,
  last_error text,
  last_error_sqlstate text,
  last_error_detail text,
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  stage_started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  ended_at timestamptz,
  cleaned_up_at timestamptz,

  source_system_identifier text,
  source_timeline int,
  source_timeline_began pg_lsn,      -- as the receiver has seen it; NULL on the first
  source_recovery_mark text,         -- another, or NULL: it may have recovered from a crash since
  source_version int,
  source_encoding text,
  source_database text,
  slot_name name,
  slot_created boolean NOT NULL DEFAULT false,
  slot_sent boolean NOT NULL DEFAULT false, -- its creation: from then on what bears the name is ours
  publications text[] NOT NULL DEFAULT '{}',
  publications_created boolean NOT NULL DEFAULT false,
  publications_sent boolean NOT NULL DEFAULT false,
  publications_as_of text,           -- the source's xid that wrote last to what its catalog says of them
  origin_name text,
  snapshot_lsn pg_lsn,
  snapshot_name text,                -- exported; only while snapshot_held
  endpos pg_lsn,
  schema_restored boolean NOT NULL DEFAULT false,
  spool_token text,
  dsm_handle bigint,                 -- of the running coordinator
  coordinator_starts bigint NOT NULL DEFAULT 0,

  -- As of the last time a coordinator ended or a stage did; live values are in shared memory.
  source_lsn pg_lsn,
  received_lsn pg_lsn,
  flushed_lsn pg_lsn,
  transactions_applied bigint NOT NULL DEFAULT 0,
  changes_applied bigint NOT NULL DEFAULT 0,
  changes_skipped bigint NOT NULL DEFAULT 0,

  -- What the rows of table_copy and schema_job add up to; NULL while a coordinator runs, which has
  -- it in shared memory, and if one ended without a word.
  tables_total bigint,
  tables_done bigint,
  bytes_total bigint,
  bytes_done bigint,
  rows_done bigint,
  indexes_total bigint,
  indexes_done bigint
) WITH (fillfactor = 50);            -- room in its page for an error when the disk is full
CREATE UNIQUE INDEX migration_active_name ON migration (name)
  WHERE state NOT IN ('done', 'aborted');

-- Jobs of TimescaleDB that are to be scheduled again when the last migration has ended.
CREATE TABLE paused_job (
  id int PRIMARY KEY
);

-- With ten thousand tables the views are read as fast as memory gives the rows of table_copy and
-- schema_job, and these can be taken apart. Hence names without padding (text, not name), columns of
-- a fixed length first, and what the views do not show last.
CREATE TABLE table_copy (
  migration int NOT NULL REFERENCES migration ON DELETE CASCADE,
  id int NOT NULL,
  bytes bigint NOT NULL,
  bytes_done bigint NOT NULL DEFAULT 0,
  rows_estimate bigint NOT NULL,
  rows_done bigint NOT NULL DEFAULT 0,
  parts int NOT NULL DEFAULT 1,
  attempts int NOT NULL DEFAULT 0,   -- that failed, of the part of which most did
  source_oid oid NOT NULL,
  pages bigint NOT NULL,
  rows_changed bigint NOT NULL,      -- UPDATE and DELETE on the source before the snapshot
  filenode oid NOT NULL,
  relkind "char" NOT NULL,
  persistence "char" NOT NULL,
  replica_identity "char" NOT NULL,  -- pg_class.relreplident
  identity_usable boolean NOT NULL,  -- UPDATE and DELETE can be replicated
  copy_data boolean NOT NULL,
  replaced boolean NOT NULL DEFAULT false, -- on the source, by another table of the name: left as it is
  is_extension_config boolean NOT NULL,
  state text NOT NULL DEFAULT 'pending', -- pending, copying, done, skipped
  schema_name text COLLATE "C" NOT NULL,
  table_name text COLLATE "C" NOT NULL,
  snapshot_lsn pg_lsn,               -- what the copied rows are consistent with
  started_at timestamptz,
  finished_at timestamptz,
  error text,
  row_condition text NOT NULL,       -- of an extension's configuration table: the user's rows
  dealing text,                      -- to several apply workers: first, table, key
  dealing_key name[],                -- with key: the replica identity's columns
  PRIMARY KEY (migration, id),
  UNIQUE (migration, schema_name, table_name)
) WITH (fillfactor = 50);            -- each row is updated once or twice: in its page
CREATE INDEX table_copy_split ON table_copy (migration, id) WHERE parts > 1;

-- The source's columns as of table_copy.snapshot_lsn, but generated ones: what became of them since is
-- not in the change stream. Not there for tables that somebody else has copied.
CREATE TABLE table_columns (
  migration int NOT NULL REFERENCES migration ON DELETE CASCADE,
  table_id int NOT NULL,
  numbers int[] NOT NULL,            -- pg_attribute.attnum, ascending
  names text[] NOT NULL,
  types oid[] NOT NULL,
  wire_types oid[] NOT NULL,         -- as which binary values are described
  type_modifiers int[] NOT NULL,
  PRIMARY KEY (migration, table_id)
);

-- The source's partitions. Where the target has not the same one, its rows go through the topmost
-- partitioned table.
CREATE TABLE table_partition (
  migration int NOT NULL REFERENCES migration ON DELETE CASCADE,
  table_id int NOT NULL,
  through_root boolean NOT NULL DEFAULT false,
  key_suffices boolean NOT NULL,     -- its replica identity tells its rows from all of the root's
  root_schema text COLLATE "C" NOT NULL,
  root_name text COLLATE "C" NOT NULL,
  bounds text NOT NULL,              -- its own and those of the partitions it lies in, with their keys
  beside text[] NOT NULL,            -- of a default partition: the bounds of what it has no rows of
  left_out text,                     -- one beside it whose rows are not the migration's
  condition text,                    -- which of the root's rows are its own; empty: cannot be told
  PRIMARY KEY (migration, table_id)
);

CREATE TABLE copy_part (
  migration int NOT NULL,
  id int NOT NULL,                   -- order in which to start
  table_id int,                      -- NULL: large objects
  part int NOT NULL,
  condition text NOT NULL,           -- on ctid; for large objects on the oid
  bytes bigint NOT NULL,
  -- pending, copying, done; failed: not tried again before migration_resume; void: of an older plan,
  -- here for its attempts only
  state text NOT NULL DEFAULT 'pending',
  worker int,
  attempts int NOT NULL DEFAULT 0,   -- begun and not taken back, each before its work starts
  next_attempt_at timestamptz,       -- not before this; infinity if it failed
  rows_done bigint,
  bytes_done bigint,
  started_at timestamptz,
  finished_at timestamptz,
  error_sqlstate text,               -- of the last attempt
  error text,
  error_detail text,
  error_hint text,
  PRIMARY KEY (migration, id),
  FOREIGN KEY (migration) REFERENCES migration ON DELETE CASCADE
) WITH (fillfactor = 50);
CREATE INDEX copy_part_pending ON copy_part (migration, attempts, id) WHERE state = 'pending';
CREATE INDEX copy_part_table ON copy_part (migration, table_id);

CREATE TABLE schema_job (
  migration int NOT NULL REFERENCES migration ON DELETE CASCADE,
  id int NOT NULL,                   -- dump order
  bytes bigint NOT NULL DEFAULT 0,
  phase int NOT NULL,                -- jobs of a phase run side by side
  ready boolean NOT NULL DEFAULT true, -- false: waits for the data
  state text NOT NULL DEFAULT 'pending', -- pending, running, done, skipped
  kind text NOT NULL,
  schema_name text COLLATE "C",
  table_name text COLLATE "C",
  object_name text COLLATE "C",
  started_at timestamptz,
  finished_at timestamptz,
  error text,
  worker int,
  table_id int,                      -- may begin when this table is complete; NULL: after all data
  attempts int NOT NULL DEFAULT 0,   -- begun and not taken back, as of copy_part
  sql text NOT NULL,
  PRIMARY KEY (migration, id)
);
CREATE INDEX schema_job_unfinished ON schema_job (migration, phase, id)
  WHERE state IN ('pending', 'running');
CREATE INDEX schema_job_next ON schema_job (migration, phase, attempts, bytes DESC, id)
  WHERE state = 'pending' AND ready AND error IS NULL;
CREATE INDEX schema_job_table ON schema_job (migration, table_id) WHERE phase = 1;

CREATE TABLE event (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  migration int NOT NULL REFERENCES migration ON DELETE CASCADE,
  severity text NOT NULL,            -- info, notice, warning, error
  stage text NOT NULL,
  message text NOT NULL,
  detail text
);

CREATE TABLE conflict (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  migration int NOT NULL REFERENCES migration ON DELETE CASCADE,
  kind text NOT NULL,
  schema_name name,
  table_name name,
  key text,
  xid bigint,
  end_lsn pg_lsn,
  sqlstate text,
  message text,
  resolution text
);

-- Source transactions to pass over, by skip_transaction(); skipped_at is set with the origin's
-- advance beyond them.
CREATE TABLE skipped_transaction (
  migration int NOT NULL REFERENCES migration ON DELETE CASCADE,
  commit_lsn pg_lsn NOT NULL,
  requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  requested_by name NOT NULL DEFAULT CURRENT_USER,
  skipped_at timestamptz,
  changes bigint,
  PRIMARY KEY (migration, commit_lsn)
);

CREATE TABLE check_result (
  migration int NOT NULL REFERENCES migration ON DELETE CASCADE,
  stage text NOT NULL,               -- preflight or cutover
  position int NOT NULL,
  check_id text NOT NULL,
  severity text NOT NULL,
  object text,
  message text NOT NULL,
  fix text,
  PRIMARY KEY (migration, stage, position)
);

-- The latest result of compare_data for each table.
CREATE TABLE comparison (
  migration int NOT NULL REFERENCES migration ON DELETE CASCADE,
  relation text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  source_rows bigint,
  target_rows bigint,
  source_checksum text,
  target_checksum text,
  equal boolean NOT NULL,
  differing_keys text[],
  detail text,
  lsn pg_lsn,
  PRIMARY KEY (migration, relation)
);

-- The latest result of compare_schema.
CREATE TABLE schema_comparison (
  migration int PRIMARY KEY REFERENCES migration ON DELETE CASCADE,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  objects text[] NOT NULL,
  sources text[] NOT NULL,           -- empty: not there
  targets text[] NOT NULL
);

-- The units of the latest run of compare_data, as its workers write them.
CREATE TABLE comparison_range (
  migration int NOT NULL REFERENCES migration ON DELETE CASCADE,
  run bigint NOT NULL,
  schema_name name NOT NULL,
  table_name name NOT NULL,
  part int NOT NULL,
  condition text NOT NULL,           -- on alias t; empty: the whole table
  bytes bigint NOT NULL,
  state text NOT NULL DEFAULT 'pending', -- pending, running, done
  pid int,
  started_at timestamptz,
  finished_at timestamptz,
  source_rows bigint,
  target_rows bigint,
  source_checksum text,
  target_checksum text,
  equal boolean,
  detail text,
  lsn pg_lsn,
  ended boolean NOT NULL DEFAULT false, -- the run came to its end
  PRIMARY KEY (migration, run, schema_name, table_name, part)
);

-- Written every few seconds by the coordinator, thinned as it ages.
CREATE TABLE lag_sample (
  migration int NOT NULL REFERENCES migration ON DELETE CASCADE,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  stage text NOT NULL,
  replay_lag interval,
  lag_bytes bigint,
  spool_bytes bigint,
  changes_per_second float8 NOT NULL,
  apply_bytes_per_second float8 NOT NULL,  -- of the source's WAL
  source_bytes_per_second float8 NOT NULL, -- WAL written there
  copy_bytes_per_second float8 NOT NULL,
  slot_retained_bytes bigint,              -- WAL the source keeps for the slot
  PRIMARY KEY (migration, at)
);

-- ---------------------------------------------------------------------------------------------
-- Calls
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION migration_check(
  source text, plugin text DEFAULT 'auto', options jsonb DEFAULT '{}',
  include_tables text[] DEFAULT NULL, exclude_tables text[] DEFAULT '{}',
  exclude_table_data text[] DEFAULT '{}', table_jobs int DEFAULT 4, roles boolean DEFAULT true,
  owner boolean DEFAULT false, privileges boolean DEFAULT false, on_existing text DEFAULT 'error',
  index_jobs int DEFAULT 4, split_tables_larger_than text DEFAULT '1 GB',
  migration name DEFAULT 'main',
  OUT check_id text, OUT severity text, OUT object text, OUT message text, OUT fix text)
RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'livemigrate_migration_check';

-- What a migration will need and how long it will take, from sizes and a short measured sample.
CREATE FUNCTION migration_estimate(
  source text, table_jobs int DEFAULT 4, index_jobs int DEFAULT 4,
  include_tables text[] DEFAULT NULL, exclude_tables text[] DEFAULT '{}',
  exclude_table_data text[] DEFAULT '{}', sample_seconds int DEFAULT 3,
  OUT item text, OUT estimate text, OUT value float8, OUT unit text, OUT basis text)
RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'livemigrate_migration_estimate';

CREATE FUNCTION migration_start(
  source text, migration name DEFAULT 'main', plugin text DEFAULT 'auto',
  pause_after text[] DEFAULT '{}', table_jobs int DEFAULT 4, index_jobs int DEFAULT 4,
  split_tables_larger_than text DEFAULT '1 GB', include_tables text[] DEFAULT NULL,
  exclude_tables text[] DEFAULT '{}', exclude_table_data text[] DEFAULT '{}',
  roles boolean DEFAULT true, owner boolean DEFAULT false, privileges boolean DEFAULT false,
  on_existing text DEFAULT 'error', options jsonb DEFAULT '{}')
RETURNS name LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'livemigrate_migration_start';

CREATE FUNCTION migration_pause(migration name DEFAULT NULL)
RETURNS name LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'livemigrate_migration_pause';

CREATE FUNCTION migration_resume(migration name DEFAULT NULL, pause_after text[] DEFAULT NULL)
RETURNS name LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'livemigrate_migration_resume';

CREATE FUNCTION set_endpos(endpos pg_lsn DEFAULT NULL, migration name DEFAULT NULL,
  force boolean DEFAULT true)
RETURNS pg_lsn LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'livemigrate_set_endpos';

CREATE FUNCTION skip_transaction(lsn pg_lsn, migration name DEFAULT NULL)
RETURNS pg_lsn LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'livemigrate_skip_transaction';

CREATE FUNCTION copy_sequences(migration name DEFAULT NULL)
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'livemigrate_copy_sequences';

-- A procedure cannot both commit and carry SET search_path: everything it runs is qualified.
CREATE PROCEDURE migration_wait(
  stage text DEFAULT 'done', timeout interval DEFAULT NULL, migration name DEFAULT NULL)
LANGUAGE C
AS 'MODULE_PATHNAME', 'livemigrate_migration_wait';

CREATE FUNCTION copy_large_objects(migration name DEFAULT NULL)
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'livemigrate_copy_large_objects';

-- What to look at before the application moves; the stage cutover makes the same checks.
CREATE FUNCTION cutover_check(
  migration name DEFAULT NULL,
  OUT check_id text, OUT severity text, OUT object text, OUT message text, OUT fix text)
RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'livemigrate_cutover_check';

CREATE FUNCTION compare_schema(
  migration name DEFAULT NULL, OUT object text, OUT source text, OUT target text)
RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'livemigrate_compare_schema';

CREATE FUNCTION compare_data(
  migration name DEFAULT NULL, tables text[] DEFAULT NULL, resume boolean DEFAULT false,
  OUT relation text, OUT source_rows bigint, OUT target_rows bigint,
  OUT source_checksum text, OUT target_checksum text, OUT equal boolean,
  OUT differing_keys text[], OUT detail text, OUT lsn pg_lsn)
RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'livemigrate_compare_data';

CREATE FUNCTION compare_rows(
  migration name DEFAULT NULL, tables text[] DEFAULT NULL, max_rows int DEFAULT 100,
  OUT relation text, OUT key text, OUT difference text)
RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'livemigrate_compare_rows';

CREATE FUNCTION migration_abort(migration name DEFAULT NULL)
RETURNS name LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'livemigrate_migration_abort';

CREATE FUNCTION migration_cleanup(migration name DEFAULT NULL)
RETURNS name LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'livemigrate_migration_cleanup';

-- ---------------------------------------------------------------------------------------------
-- What can be seen
-- ---------------------------------------------------------------------------------------------

-- The running workers of a migration, from shared memory.
CREATE FUNCTION live_workers(
  migration int,
  OUT kind text, OUT pid int, OUT what text, OUT since timestamptz, OUT task bigint,
  OUT task_bytes bigint, OUT task_rows bigint)
RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'livemigrate_live_workers';

-- How far apply has committed, from the replication origin; NULL before there is one.
CREATE FUNCTION origin_progress(origin text)
RETURNS pg_lsn LANGUAGE C VOLATILE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'livemigrate_origin_progress';

-- Rates and positions from shared memory that migration_status has no column for; NULL while no
-- coordinator runs. spool_free_bytes is of the spool's file system, NULL when there is no spool.
CREATE FUNCTION live_rates(
  migration int,
  OUT coordinator_pid int, OUT apply_bytes_per_second float8, OUT source_bytes_per_second float8,
  OUT slot_retained_bytes bigint, OUT slot_safe_bytes bigint, OUT slot_xmin_age bigint,
  OUT changes_in_source_order bigint, OUT worker_failures bigint, OUT spool_free_bytes bigint)
RETURNS record LANGUAGE C VOLATILE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'livemigrate_live_rates';

-- The name of a migration, from memory after the first call in a statement: for the views over many
-- rows, which a join would make slower by half. It calls nothing by name that search_path could
-- lead elsewhere, and a setting of its own would be set anew for each row.
CREATE FUNCTION migration_name(id int)
RETURNS name LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'livemigrate_migration_name';

CREATE VIEW migrations AS
SELECT m.name AS migration, m.stage, m.stage_ended, m.state, m.message, m.hint,
       m.source_redacted AS source, pg_catalog.pg_get_userbyid(m.owner) AS owner,
       m.requested_plugin, m.plugin, m.pause_after, m.table_jobs, m.index_jobs,
       m.split_bytes AS split_tables_larger_than, m.include_tables, m.exclude_tables,
       m.exclude_table_data, m.roles, m.restore_owner, m.restore_privileges, m.on_existing,
       m.options, m.source_version, m.source_encoding, m.source_database, m.slot_name,
       m.publications, m.origin_name, m.snapshot_lsn, m.endpos, m.attempts, m.last_error,
       m.last_error_sqlstate, m.last_error_detail, m.started_at, m.stage_started_at, m.ended_at,
       m.cleaned_up_at,
       CASE WHEN m.state OPERATOR(pg_catalog.=) 'retrying' THEN m.next_attempt_at END
         AS next_attempt_at
FROM livemigrate.migration m;

CREATE VIEW workers AS
SELECT m.name AS migration, w.kind, w.pid, w.what, w.since
FROM livemigrate.migration m
CROSS JOIN LATERAL livemigrate.live_workers(m.id) w
WHERE m.dsm_handle IS NOT NULL
UNION ALL
SELECT m.name, 'compare', r.pid,
       'comparing ' OPERATOR(pg_catalog.||) pg_catalog.format('%I.%I', r.schema_name, r.table_name)
         OPERATOR(pg_catalog.||) CASE WHEN r.condition OPERATOR(pg_catalog.=) '' THEN ''
                                      ELSE ' where ' OPERATOR(pg_catalog.||) r.condition END,
       r.started_at
FROM livemigrate.comparison_range r
JOIN livemigrate.migration m ON m.id OPERATOR(pg_catalog.=) r.migration
JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) r.pid
 AND a.backend_type OPERATOR(pg_catalog.=) 'livemigrate compare worker'
WHERE r.state OPERATOR(pg_catalog.=) 'running';

-- The latest run of compare_data, table by table, also while it goes on.
CREATE VIEW compare_progress AS
SELECT m.name AS migration, r.schema_name, r.table_name, pg_catalog.count(*)::int AS ranges,
       pg_catalog.count(r.finished_at)::int AS ranges_done,
       (pg_catalog.count(*) FILTER (WHERE NOT r.equal))::int AS ranges_different,
       pg_catalog.sum(r.bytes)::bigint AS bytes_total,
       COALESCE(pg_catalog.sum(r.bytes) FILTER (WHERE r.finished_at IS NOT NULL), 0)::bigint
         AS bytes_done,
       -- without the unit that ranges of pages add up to
       COALESCE(pg_catalog.sum(r.source_rows) FILTER (
         WHERE r.condition OPERATOR(pg_catalog.<>) '' OR r.part OPERATOR(pg_catalog.=) 0), 0)::bigint
         AS rows_compared,
       pg_catalog.min(r.started_at) AS started_at, pg_catalog.max(r.finished_at) AS finished_at,
       pg_catalog.bool_and(r.ended) AS ended
FROM livemigrate.comparison_range r
JOIN livemigrate.migration m ON m.id OPERATOR(pg_catalog.=) r.migration
WHERE r.run OPERATOR(pg_catalog.=) (SELECT pg_catalog.max(l.run) FROM livemigrate.comparison_range l
                                    WHERE l.migration OPERATOR(pg_catalog.=) r.migration)
GROUP BY m.name, r.schema_name, r.table_name;

-- What only few tables have is gathered apart and joined: as a subquery of each row it would make the
-- planner expect so much work with ten thousand tables that it compiles the query (jit_above_cost).
CREATE VIEW table_progress AS
WITH running AS (
  SELECT p.migration, p.table_id, w.task_bytes AS bytes, w.task_rows AS rows, 0 AS parts_done,
         true AS is_running
  FROM livemigrate.migration m
  CROSS JOIN LATERAL livemigrate.live_workers(m.id) w
  JOIN livemigrate.copy_part p
    ON p.migration OPERATOR(pg_catalog.=) m.id AND p.id OPERATOR(pg_catalog.=) w.task
   AND p.state OPERATOR(pg_catalog.=) 'copying'
  WHERE m.dsm_handle IS NOT NULL AND w.kind OPERATOR(pg_catalog.=) 'copy'
  UNION ALL
  SELECT p.migration, p.table_id, 0, 0, 1, false
  FROM livemigrate.table_copy t
  JOIN livemigrate.copy_part p
    ON p.migration OPERATOR(pg_catalog.=) t.migration AND p.table_id OPERATOR(pg_catalog.=) t.id
   AND p.state OPERATOR(pg_catalog.=) 'done'
  WHERE t.parts OPERATOR(pg_catalog.>) 1 AND t.state OPERATOR(pg_catalog.=) 'copying'),
begun AS (
  SELECT migration, table_id, pg_catalog.sum(bytes)::bigint AS bytes,
         pg_catalog.sum(rows)::bigint AS rows, pg_catalog.sum(parts_done)::int AS parts_done,
         pg_catalog.bool_or(is_running) AS is_running
  FROM running
  GROUP BY migration, table_id)
SELECT livemigrate.migration_name(t.migration) AS migration, t.schema_name, t.table_name,
       -- Small tables are claimed many at a time.
       CASE WHEN b.is_running AND t.state OPERATOR(pg_catalog.=) 'pending' THEN 'copying'
            ELSE t.state END AS state,
       t.parts,
       CASE WHEN t.state OPERATOR(pg_catalog.=) 'done' THEN t.parts
            ELSE COALESCE(b.parts_done, 0) END AS parts_done,
       t.bytes AS bytes_total,
       CASE WHEN t.state OPERATOR(pg_catalog.=) 'done' THEN t.bytes
            ELSE LEAST(t.bytes, t.bytes_done OPERATOR(pg_catalog.+) COALESCE(b.bytes, 0))
       END AS bytes_done,
       t.rows_estimate AS rows_total,
       t.rows_done OPERATOR(pg_catalog.+) COALESCE(b.rows, 0) AS rows_done,
       t.snapshot_lsn, t.started_at, t.finished_at, t.error,
       CASE WHEN t.started_at IS NOT NULL THEN
         ((t.bytes_done OPERATOR(pg_catalog.+) COALESCE(b.bytes, 0)) OPERATOR(pg_catalog./) NULLIF(
           pg_catalog.date_part('epoch', COALESCE(t.finished_at, pg_catalog.clock_timestamp())
             OPERATOR(pg_catalog.-) t.started_at), 0))::bigint
       END AS bytes_per_second,
       t.attempts
FROM livemigrate.table_copy t
LEFT JOIN begun b ON b.migration OPERATOR(pg_catalog.=) t.migration
                 AND b.table_id OPERATOR(pg_catalog.=) t.id;

-- What is being built says how far it is.
CREATE VIEW index_progress AS
WITH running AS (
  SELECT m.id AS migration, w.task, p.blocks_done, p.blocks_total, p.tuples_done, p.tuples_total
  FROM livemigrate.migration m
  CROSS JOIN LATERAL livemigrate.live_workers(m.id) w
  JOIN pg_catalog.pg_stat_progress_create_index p ON p.pid OPERATOR(pg_catalog.=) w.pid
  WHERE m.dsm_handle IS NOT NULL AND w.kind OPERATOR(pg_catalog.=) 'index')
SELECT livemigrate.migration_name(j.migration) AS migration, j.kind, j.schema_name, j.table_name, j.object_name, j.state,
       j.bytes AS table_bytes, j.started_at, j.finished_at, j.error,
       r.blocks_done, r.blocks_total, r.tuples_done, r.tuples_total,
       -- Of the table; of one that is being built as far as it has been read.
       CASE WHEN j.started_at IS NOT NULL AND j.bytes OPERATOR(pg_catalog.>) 0 THEN
         (j.bytes OPERATOR(pg_catalog.*)
           CASE WHEN j.finished_at IS NOT NULL THEN 1::float8
                ELSE r.blocks_done::float8 OPERATOR(pg_catalog./) NULLIF(r.blocks_total, 0) END
           OPERATOR(pg_catalog./) NULLIF(
           pg_catalog.date_part('epoch', COALESCE(j.finished_at, pg_catalog.clock_timestamp())
             OPERATOR(pg_catalog.-) j.started_at), 0))::bigint
       END AS bytes_per_second
FROM livemigrate.schema_job j
LEFT JOIN running r ON r.migration OPERATOR(pg_catalog.=) j.migration
                   AND r.task OPERATOR(pg_catalog.=) j.id;

CREATE VIEW events AS
SELECT e.at, m.name AS migration, e.severity, e.stage, e.message, e.detail, e.id
FROM livemigrate.event e
JOIN livemigrate.migration m ON m.id OPERATOR(pg_catalog.=) e.migration;

CREATE VIEW conflicts AS
SELECT c.at, m.name AS migration, c.kind, c.schema_name, c.table_name, c.key, c.xid, c.end_lsn,
       c.sqlstate, c.message, c.resolution, c.id
FROM livemigrate.conflict c
JOIN livemigrate.migration m ON m.id OPERATOR(pg_catalog.=) c.migration;

CREATE VIEW lag_history AS
SELECT s.at, m.name AS migration, s.stage, s.replay_lag, s.lag_bytes, s.spool_bytes,
       s.changes_per_second, s.apply_bytes_per_second, s.source_bytes_per_second,
       s.copy_bytes_per_second, s.slot_retained_bytes
FROM livemigrate.lag_sample s
JOIN livemigrate.migration m ON m.id OPERATOR(pg_catalog.=) s.migration;

-- One row per migration: the one named, else all that are not cleaned up, else the last one.
CREATE FUNCTION migration_status(
  migration name DEFAULT NULL,
  OUT migration name, OUT stage text, OUT state text, OUT message text, OUT hint text,
  OUT plugin text, OUT slot_name name, OUT snapshot_lsn pg_lsn, OUT source_lsn pg_lsn,
  OUT received_lsn pg_lsn, OUT flushed_lsn pg_lsn, OUT applied_lsn pg_lsn, OUT endpos pg_lsn,
  OUT replay_lag interval, OUT lag_bytes bigint, OUT spool_bytes bigint, OUT tables_total int,
  OUT tables_done int, OUT bytes_total bigint, OUT bytes_done bigint, OUT rows_done bigint,
  OUT indexes_total int, OUT indexes_done int, OUT transactions_applied bigint,
  OUT changes_applied bigint, OUT changes_skipped bigint, OUT copy_bytes_per_second float8,
  OUT changes_per_second float8, OUT eta interval, OUT started_at timestamptz,
  OUT stage_started_at timestamptz, OUT attempts int, OUT last_error text)
RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'livemigrate_migration_status';

CREATE VIEW checks AS
SELECT m.name AS migration, c.check_id, c.severity, c.object, c.message, c.fix, c.stage
FROM livemigrate.check_result c
JOIN livemigrate.migration m ON m.id OPERATOR(pg_catalog.=) c.migration
ORDER BY c.migration, c.stage DESC, c.position;

CREATE VIEW comparisons AS
SELECT c.at, m.name AS migration, c.relation, c.source_rows, c.target_rows, c.source_checksum,
       c.target_checksum, c.equal, c.differing_keys, c.detail, c.lsn
FROM livemigrate.comparison c
JOIN livemigrate.migration m ON m.id OPERATOR(pg_catalog.=) c.migration;

-- One self-contained HTML page, and the same facts as JSON.
CREATE FUNCTION migration_report(migration name DEFAULT NULL)
RETURNS text LANGUAGE C VOLATILE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'livemigrate_migration_report';

CREATE FUNCTION migration_report_json(migration name DEFAULT NULL)
RETURNS jsonb LANGUAGE C VOLATILE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'livemigrate_migration_report_json';

-- A text screen for \watch, at most 78 columns and 17 lines. ascii => true: no block characters.
CREATE FUNCTION dashboard(migration name DEFAULT NULL, ascii boolean DEFAULT false)
RETURNS SETOF text LANGUAGE C VOLATILE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'livemigrate_dashboard';

-- What a Prometheus exporter scrapes in one query: one row per sample, of the migrations that
-- migration_status shows. Names follow Prometheus: base units, counters end in _total.
CREATE VIEW metrics AS
WITH status AS MATERIALIZED (
  SELECT s.*, m.id, m.coordinator_starts, m.slot_kept
  FROM livemigrate.migration_status() s
  JOIN LATERAL (SELECT i.id, i.coordinator_starts,
                       i.cleaned_up_at IS NULL AND i.slot_name IS NOT NULL
                         AND (i.slot_sent OR NOT i.slot_created) AS slot_kept
                FROM livemigrate.migration i
                WHERE i.name OPERATOR(pg_catalog.=) s.migration
                  AND i.started_at OPERATOR(pg_catalog.=) s.started_at) m ON true),
rates AS MATERIALIZED (
  SELECT s.migration, r.* FROM status s CROSS JOIN LATERAL livemigrate.live_rates(s.id) r)
SELECT 'livemigrate_info'::text AS name,
       pg_catalog.jsonb_build_object('migration', migration, 'stage', stage, 'state', state,
                                     'plugin', plugin, 'slot', slot_name) AS labels,
       1::float8 AS value
FROM status
UNION ALL
SELECT 'livemigrate_stage',
       pg_catalog.jsonb_build_object('migration', s.migration, 'stage', v.stage),
       (v.stage OPERATOR(pg_catalog.=) s.stage)::int::float8
FROM status s CROSS JOIN (VALUES ('preflight'), ('slot'), ('roles'), ('schema'), ('data'),
  ('indexes'), ('catchup'), ('streaming'), ('cutover'), ('done')) AS v(stage)
UNION ALL
SELECT 'livemigrate_state',
       pg_catalog.jsonb_build_object('migration', s.migration, 'state', v.state),
       (v.state OPERATOR(pg_catalog.=) s.state)::int::float8
FROM status s CROSS JOIN (VALUES ('running'), ('paused'), ('retrying'), ('failed'), ('done'),
  ('aborted')) AS v(state)
UNION ALL
SELECT v.name, pg_catalog.jsonb_build_object('migration', s.migration), v.value
FROM status s JOIN rates r ON r.migration OPERATOR(pg_catalog.=) s.migration
CROSS JOIN LATERAL (VALUES
  ('livemigrate_coordinator_running', (r.coordinator_pid IS NOT NULL)::int::float8),
  ('livemigrate_coordinator_starts_total', s.coordinator_starts::float8),
  ('livemigrate_started_timestamp_seconds', EXTRACT(epoch FROM s.started_at)::float8),
  ('livemigrate_stage_started_timestamp_seconds',
   EXTRACT(epoch FROM s.stage_started_at)::float8),
  ('livemigrate_replay_lag_seconds', EXTRACT(epoch FROM s.replay_lag)::float8),
  ('livemigrate_lag_bytes', s.lag_bytes::float8),
  ('livemigrate_spool_bytes', s.spool_bytes::float8),
  ('livemigrate_spool_free_bytes', r.spool_free_bytes::float8),
  ('livemigrate_received_position_bytes',
   (s.received_lsn OPERATOR(pg_catalog.-) '0/0'::pg_lsn)::float8),
  ('livemigrate_applied_position_bytes',
   (s.applied_lsn OPERATOR(pg_catalog.-) '0/0'::pg_lsn)::float8),
  ('livemigrate_tables', s.tables_total::float8),
  ('livemigrate_tables_done', s.tables_done::float8),
  ('livemigrate_table_bytes', s.bytes_total::float8),
  ('livemigrate_table_bytes_done', s.bytes_done::float8),
  ('livemigrate_rows_copied_total', s.rows_done::float8),
  ('livemigrate_index_jobs', s.indexes_total::float8),
  ('livemigrate_index_jobs_done', s.indexes_done::float8),
  ('livemigrate_transactions_applied_total', s.transactions_applied::float8),
  ('livemigrate_changes_applied_total', s.changes_applied::float8),
  ('livemigrate_changes_skipped_total', s.changes_skipped::float8),
  ('livemigrate_changes_in_source_order_total', r.changes_in_source_order::float8),
  ('livemigrate_copy_bytes_per_second', s.copy_bytes_per_second),
  ('livemigrate_changes_per_second', s.changes_per_second),
  ('livemigrate_apply_bytes_per_second', r.apply_bytes_per_second),
  ('livemigrate_source_bytes_per_second', r.source_bytes_per_second),
  ('livemigrate_eta_seconds', EXTRACT(epoch FROM s.eta)::float8),
  ('livemigrate_retry_attempts', s.attempts::float8),
  ('livemigrate_worker_failures_total', r.worker_failures::float8),
  ('livemigrate_not_converging',
   (s.message OPERATOR(pg_catalog.~) 'not converging')::int::float8),
  ('livemigrate_slot_kept', s.slot_kept::int::float8),
  ('livemigrate_slot_retained_bytes', r.slot_retained_bytes::float8),
  ('livemigrate_slot_safe_bytes', r.slot_safe_bytes::float8),
  ('livemigrate_slot_xmin_age', r.slot_xmin_age::float8),
  ('livemigrate_conflicts_total',
   (SELECT pg_catalog.count(*)::float8 FROM livemigrate.conflict c
    WHERE c.migration OPERATOR(pg_catalog.=) s.id))
) AS v(name, value)
WHERE v.value IS NOT NULL
UNION ALL
SELECT 'livemigrate_workers',
       pg_catalog.jsonb_build_object('migration', s.migration, 'kind', v.kind),
       pg_catalog.count(w.kind)::float8
FROM status s CROSS JOIN (VALUES ('coordinator'), ('receiver'), ('apply'), ('copy'),
  ('index'), ('compare')) AS v(kind)
LEFT JOIN livemigrate.workers w ON w.migration OPERATOR(pg_catalog.=) s.migration
                               AND w.kind OPERATOR(pg_catalog.=) v.kind
GROUP BY s.migration, v.kind
UNION ALL
SELECT 'livemigrate_events_total',
       pg_catalog.jsonb_build_object('migration', s.migration, 'severity', v.severity),
       (SELECT pg_catalog.count(*)::float8 FROM livemigrate.event e
        WHERE e.migration OPERATOR(pg_catalog.=) s.id
          AND e.severity OPERATOR(pg_catalog.=) v.severity)
FROM status s CROSS JOIN (VALUES ('info'), ('notice'), ('warning'), ('error')) AS v(severity);

-- Workers run as the role that started the migration: what they go by is changed only by roles that
-- may act as that one, whatever was granted on the tables. Apply sets session_replication_role.
CREATE FUNCTION guard_row() RETURNS trigger LANGUAGE C
AS 'MODULE_PATHNAME', 'livemigrate_guard_row';

CREATE TRIGGER guard_row BEFORE INSERT OR UPDATE OR DELETE ON migration
  FOR EACH ROW EXECUTE FUNCTION livemigrate.guard_row();
CREATE TRIGGER guard_row BEFORE INSERT OR UPDATE OR DELETE ON table_copy
  FOR EACH ROW EXECUTE FUNCTION livemigrate.guard_row();
CREATE TRIGGER guard_row BEFORE INSERT OR UPDATE OR DELETE ON table_columns
  FOR EACH ROW EXECUTE FUNCTION livemigrate.guard_row();
CREATE TRIGGER guard_row BEFORE INSERT OR UPDATE OR DELETE ON table_partition
  FOR EACH ROW EXECUTE FUNCTION livemigrate.guard_row();
CREATE TRIGGER guard_row BEFORE INSERT OR UPDATE OR DELETE ON copy_part
  FOR EACH ROW EXECUTE FUNCTION livemigrate.guard_row();
CREATE TRIGGER guard_row BEFORE INSERT OR UPDATE OR DELETE ON schema_job
  FOR EACH ROW EXECUTE FUNCTION livemigrate.guard_row();
CREATE TRIGGER guard_row BEFORE INSERT OR UPDATE OR DELETE ON skipped_transaction
  FOR EACH ROW EXECUTE FUNCTION livemigrate.guard_row();
CREATE TRIGGER guard_row BEFORE INSERT OR UPDATE OR DELETE ON comparison_range
  FOR EACH ROW EXECUTE FUNCTION livemigrate.guard_row();
ALTER TABLE migration ENABLE ALWAYS TRIGGER guard_row;
ALTER TABLE table_copy ENABLE ALWAYS TRIGGER guard_row;
ALTER TABLE table_columns ENABLE ALWAYS TRIGGER guard_row;
ALTER TABLE table_partition ENABLE ALWAYS TRIGGER guard_row;
ALTER TABLE copy_part ENABLE ALWAYS TRIGGER guard_row;
ALTER TABLE schema_job ENABLE ALWAYS TRIGGER guard_row;
ALTER TABLE skipped_transaction ENABLE ALWAYS TRIGGER guard_row;
ALTER TABLE comparison_range ENABLE ALWAYS TRIGGER guard_row;

-- Nothing for PUBLIC: the source's conninfo and the progress of a migration are its owner's.
REVOKE ALL ON ALL TABLES IN SCHEMA livemigrate FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA livemigrate FROM PUBLIC;
