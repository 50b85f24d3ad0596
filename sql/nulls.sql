-- NULL for each argument of each call. Where the default is NULL it means that; everywhere else it
-- is an error that names the argument, before anything is done.
CREATE EXTENSION livemigrate;
\set source '''host=/nonexistent dbname=app user=migrator'''

-- migration_check
SELECT * FROM livemigrate.migration_check(source => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.migration_check(:source, plugin => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.migration_check(:source, options => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.migration_check(:source, exclude_tables => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.migration_check(:source, exclude_table_data => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.migration_check(:source, table_jobs => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.migration_check(:source, roles => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.migration_check(:source, owner => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.migration_check(:source, privileges => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.migration_check(:source, on_existing => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.migration_check(:source, index_jobs => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.migration_check(:source, split_tables_larger_than => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.migration_check(:source, migration => NULL);
\echo :LAST_ERROR_SQLSTATE

-- migration_start
SELECT livemigrate.migration_start(source => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, migration => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, plugin => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, pause_after => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, table_jobs => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, index_jobs => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, split_tables_larger_than => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, exclude_tables => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, exclude_table_data => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, roles => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, owner => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, privileges => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, on_existing => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, options => NULL);
\echo :LAST_ERROR_SQLSTATE

-- include_tables => NULL is every table: all that is wrong is the source.
\set VERBOSITY sqlstate
SELECT livemigrate.migration_start(:source, include_tables => NULL);
\set VERBOSITY default

-- Arrays with a NULL in them
SELECT livemigrate.migration_start(:source, pause_after => '{NULL}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, include_tables => '{public.a,NULL}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, exclude_tables => '{NULL}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, exclude_table_data => '{NULL}');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM livemigrate.migrations;

-- The other calls: NULL for the migration is the only one there is.
INSERT INTO livemigrate.migration
  (name, owner, source, source_redacted, requested_plugin, pause_after, table_jobs, index_jobs,
   split_bytes, exclude_tables, exclude_table_data, roles, restore_owner, restore_privileges,
   on_existing, options, stage, state, message)
VALUES
  ('only', 10, 'host=/nonexistent', 'host=/nonexistent', 'auto', '{catchup}', 4, 4, 0, '{}', '{}',
   true, false, false, 'error', '{}', 'data', 'paused', 'paused in stage data');

SELECT migration, stage, state FROM livemigrate.migration_status(migration => NULL);
SELECT livemigrate.migration_pause(migration => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.set_endpos(endpos => '0/1000', migration => NULL);
SELECT endpos FROM livemigrate.migrations;
\set VERBOSITY sqlstate
SELECT livemigrate.set_endpos(endpos => NULL, migration => NULL);
SELECT livemigrate.skip_transaction(lsn => '0/1000', migration => NULL);
SELECT livemigrate.copy_sequences(migration => NULL);
SELECT livemigrate.copy_large_objects(migration => NULL);
SELECT * FROM livemigrate.cutover_check(migration => NULL);
SELECT * FROM livemigrate.compare_schema(migration => NULL);
SELECT * FROM livemigrate.compare_data(migration => NULL, tables => NULL);
SELECT * FROM livemigrate.compare_data(resume => NULL);
SELECT * FROM livemigrate.compare_rows(migration => NULL, tables => NULL);
SELECT * FROM livemigrate.compare_rows(max_rows => NULL);
\set VERBOSITY default
SELECT * FROM livemigrate.compare_data(migration => NULL, tables => '{NULL}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.set_endpos(force => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.skip_transaction(lsn => NULL);
\echo :LAST_ERROR_SQLSTATE
CALL livemigrate.migration_wait(stage => NULL);
\echo :LAST_ERROR_SQLSTATE
CALL livemigrate.migration_wait('schema', timeout => NULL, migration => NULL);
SELECT livemigrate.migration_cleanup(migration => NULL);
\echo :LAST_ERROR_SQLSTATE

-- pause_after => NULL leaves the list as it is. The call is taken back, so nothing starts.
BEGIN;
SELECT livemigrate.migration_resume(migration => NULL, pause_after => NULL);
SELECT state, pause_after FROM livemigrate.migrations;
ROLLBACK;
SELECT livemigrate.migration_resume(migration => NULL, pause_after => '{NULL}');
\echo :LAST_ERROR_SQLSTATE

SELECT livemigrate.migration_abort(migration => NULL);
SELECT state FROM livemigrate.migrations;
SELECT livemigrate.migration_cleanup(migration => NULL);

-- Those behind the views return nothing.
SELECT count(*) FROM livemigrate.live_workers(NULL);
SELECT livemigrate.migration_name(NULL) IS NULL AS no_name;
SELECT livemigrate.origin_progress(NULL) IS NULL AS no_origin;

DROP EXTENSION livemigrate;
