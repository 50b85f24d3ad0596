-- Calls without a migration, or with the name of one that is not there.
CREATE EXTENSION livemigrate;

-- What can be looked at is empty.
SELECT count(*) FROM livemigrate.migration_status();
SELECT count(*) FROM livemigrate.migrations;
SELECT count(*) FROM livemigrate.workers;
SELECT count(*) FROM livemigrate.table_progress;
SELECT count(*) FROM livemigrate.index_progress;
SELECT count(*) FROM livemigrate.events;
SELECT count(*) FROM livemigrate.conflicts;
SELECT count(*) FROM livemigrate.lag_history;
SELECT count(*) FROM livemigrate.metrics;
SELECT count(*) FROM livemigrate.checks;
SELECT count(*) FROM livemigrate.comparisons;
SELECT * FROM livemigrate.live_rates(1);
SELECT * FROM livemigrate.live_rates(NULL);
SELECT count(*) FROM livemigrate.live_workers(1);
SELECT count(*) FROM livemigrate.live_workers(NULL);
SELECT livemigrate.origin_progress('livemigrate_main') IS NULL AS no_origin;
SELECT livemigrate.origin_progress(NULL) IS NULL AS no_origin;

-- Without a name: the only one that has not ended.
SELECT livemigrate.migration_pause();
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_resume();
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.set_endpos();
\echo :LAST_ERROR_SQLSTATE

-- These take one that has ended, too.
SELECT livemigrate.copy_sequences();
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.compare_schema();
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.compare_data();
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_abort();
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_cleanup();
\echo :LAST_ERROR_SQLSTATE
CALL livemigrate.migration_wait();
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.dashboard();
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_report();
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_report_json();
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.migration_estimate('host=/nonexistent', table_jobs => 33);
\echo :LAST_ERROR_SQLSTATE

-- With a name.
SELECT * FROM livemigrate.migration_status('nobody');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_pause('nobody');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_resume('nobody');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.set_endpos('0/1000', 'nobody');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.copy_sequences('nobody');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.compare_schema('nobody');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.compare_data('nobody');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_abort('nobody');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_cleanup('nobody');
\echo :LAST_ERROR_SQLSTATE
CALL livemigrate.migration_wait('done', '1 s', 'nobody');
\echo :LAST_ERROR_SQLSTATE

-- Names are taken as they are: nothing in them is SQL, a pattern or a format.
SELECT livemigrate.migration_pause('it''s "100%s" \ {a,b}');
SELECT livemigrate.migration_pause('MAIN');
SELECT livemigrate.migration_pause('');

-- After a migration that is done and cleaned up, as the history keeps it.
INSERT INTO livemigrate.migration
  (name, owner, source, source_redacted, requested_plugin, plugin, pause_after, table_jobs,
   index_jobs, split_bytes, exclude_tables, exclude_table_data, roles, restore_owner,
   restore_privileges, on_existing, options, stage, state, message, endpos, ended_at,
   cleaned_up_at)
VALUES
  ('old', 10, 'host=/nonexistent dbname=app', 'host=/nonexistent dbname=app', 'auto', 'pgoutput',
   '{}', 4, 4, 0, '{}', '{}', true, false, false, 'error', '{}', 'done', 'done',
   'migration is done', '0/2000', now(), now());
SELECT migration, stage, state, message, applied_lsn, endpos FROM livemigrate.migration_status();
CALL livemigrate.migration_wait();
CALL livemigrate.migration_wait('schema', NULL, 'old');
SELECT line FROM livemigrate.dashboard('old', true) AS line WHERE line !~ 'for ';
SELECT livemigrate.migration_report('old') ~ '^<!DOCTYPE html>' AS report;
SELECT livemigrate.migration_report_json('old')->'migration'->>'state' AS state;
SELECT livemigrate.migration_cleanup();
SELECT livemigrate.migration_cleanup('old');
SELECT livemigrate.migration_pause();
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_pause('old');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_resume('old');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.set_endpos('0/3000', 'old');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_abort('old');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.compare_data('old', '{public.*}');
\echo :LAST_ERROR_SQLSTATE

-- With ten thousand tables the progress views stay far below the cost at which PostgreSQL compiles
-- queries (jit_above_cost, 100000 by default), before and after the tables are analyzed.
SELECT id AS old FROM livemigrate.migration \gset
INSERT INTO livemigrate.table_copy
  (migration, id, schema_name, table_name, bytes, rows_estimate, source_oid, pages, rows_changed,
   filenode, relkind, persistence, replica_identity, identity_usable, copy_data,
   is_extension_config, row_condition)
SELECT :old, i, 'public', 't_' || i, 8192, 10, i, 1, 0, i, 'r', 'p', 'd', true, true, false, ''
FROM generate_series(1, 10000) i;
INSERT INTO livemigrate.copy_part (migration, id, table_id, part, condition, bytes)
SELECT :old, i, i, 1, '', 8192 FROM generate_series(1, 10000) i;
INSERT INTO livemigrate.schema_job
  (migration, id, phase, kind, schema_name, table_name, object_name, sql, table_id)
SELECT :old, 4 * i + k, 1, 'index', 'public', 't_' || i, 't_' || i || '_' || k, 'SELECT 1', i
FROM generate_series(1, 10000) i, generate_series(1, 4) k;
CREATE FUNCTION pg_temp.cost(query text) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
  plan json;
BEGIN
  EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
  RETURN plan->0->'Plan'->>'Total Cost';
END $$;
SELECT v AS view, pg_temp.cost('SELECT * FROM livemigrate.' || v) < 20000 AS cheap
FROM (VALUES ('table_progress'), ('index_progress')) AS views(v);
ANALYZE livemigrate.table_copy, livemigrate.copy_part, livemigrate.schema_job;
SELECT v AS view, pg_temp.cost('SELECT * FROM livemigrate.' || v) < 20000 AS cheap
FROM (VALUES ('table_progress'), ('index_progress')) AS views(v);
SELECT migration, count(*), min(state), sum(bytes_total) FROM livemigrate.table_progress GROUP BY 1;
SELECT migration, count(*), min(state) FROM livemigrate.index_progress GROUP BY 1;
SELECT livemigrate.migration_name(-1) IS NULL AS no_name;
DELETE FROM livemigrate.schema_job;
DELETE FROM livemigrate.copy_part;
DELETE FROM livemigrate.table_copy;

-- An aborted one beside it. Of two that have ended and are cleaned up, the last one counts.
UPDATE livemigrate.migration SET state = 'aborted', stage = 'data';
SELECT livemigrate.migration_abort();
CALL livemigrate.migration_wait();
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_resume('old');
\echo :LAST_ERROR_SQLSTATE

-- Several that have not ended: the error names them.
INSERT INTO livemigrate.migration
  (name, owner, source, source_redacted, requested_plugin, pause_after, table_jobs, index_jobs,
   split_bytes, exclude_tables, exclude_table_data, roles, restore_owner, restore_privileges,
   on_existing, options, state, message)
SELECT name, 10, 'host=/nonexistent dbname=app', 'host=/nonexistent dbname=app', 'auto', '{}', 4,
       4, 0, '{}', '{}', true, false, false, 'error', '{}', 'paused', 'paused in stage preflight'
FROM (VALUES ('one'), ('o''ther')) AS v(name);
SELECT livemigrate.migration_pause();
\echo :LAST_ERROR_SQLSTATE
SELECT migration, stage, state FROM livemigrate.migration_status();
SELECT livemigrate.copy_sequences('one');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.cutover_check('one');
SELECT * FROM livemigrate.compare_schema('one');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.compare_data('one');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_cleanup('one');
\echo :LAST_ERROR_SQLSTATE
CALL livemigrate.migration_wait('schema', '0 s', 'one');
\echo :LAST_ERROR_SQLSTATE

-- One that has not ended is meant without a name, whatever ended before it.
DELETE FROM livemigrate.migration WHERE name = 'o''ther';
SELECT livemigrate.migration_pause();
SELECT livemigrate.copy_sequences();
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_cleanup();
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.set_endpos('0/4000');
SELECT livemigrate.set_endpos('0/3000');
SELECT migration, stage, state, endpos FROM livemigrate.migration_status();
SELECT migration, severity, stage, message, replace(detail, current_user, 'caller') AS detail
FROM livemigrate.events ORDER BY id;

-- Given up before it made anything: nothing is to be cleaned up on a source that is not there.
SELECT livemigrate.migration_abort();
SELECT livemigrate.migration_abort();
SELECT livemigrate.migration_cleanup();
SELECT migration, stage, state, message FROM livemigrate.migration_status();
SELECT migration, severity, stage, message, replace(detail, current_user, 'caller') AS detail
FROM livemigrate.events ORDER BY id;
SELECT migration, state, cleaned_up_at IS NOT NULL AS cleaned_up FROM livemigrate.migrations
ORDER BY started_at, migration;
DELETE FROM livemigrate.migration;

DROP EXTENSION livemigrate;
