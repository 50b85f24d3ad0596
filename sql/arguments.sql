-- Bad arguments: each is an error that says what is valid, and leaves nothing behind. They are found
-- before anybody connects: the source named here does not exist.
CREATE EXTENSION livemigrate;
\set source '''host=/nonexistent dbname=app user=migrator'''

-- source
SELECT livemigrate.migration_start(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start('');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start('host=a b=c');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start('host=''a');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start('no such string');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.migration_check(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.migration_check('');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.migration_check('host=a b=c');
\echo :LAST_ERROR_SQLSTATE

-- A password in a string that cannot be read is not repeated.
SELECT livemigrate.migration_start('host=a password=se cret');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start('host=a password=''secret');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start('postgresql://me:secret@[host/db');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start('host=a sslmode password=secret');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.migration_check('postgresql://me:secret@host/db?nonsense=1');
\echo :LAST_ERROR_SQLSTATE

-- migration
SELECT livemigrate.migration_start(:source, NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, '');
\echo :LAST_ERROR_SQLSTATE

-- plugin
SELECT livemigrate.migration_start(:source, plugin => 'decoderbufs');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, plugin => '');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, plugin => 'PGOUTPUT');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, plugin => NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.migration_check(:source, 'decoderbufs');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.migration_check(:source, NULL);
\echo :LAST_ERROR_SQLSTATE

-- pause_after
SELECT livemigrate.migration_start(:source, pause_after => '{shcema}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, pause_after => '{schema,Data}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, pause_after => '{""}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, pause_after => '{done}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, pause_after => '{schema,NULL}');
\echo :LAST_ERROR_SQLSTATE

-- table_jobs, index_jobs
SELECT livemigrate.migration_start(:source, table_jobs => 0);
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, table_jobs => -1);
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, table_jobs => 33);
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, index_jobs => 0);
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, index_jobs => 2147483647);
\echo :LAST_ERROR_SQLSTATE

-- split_tables_larger_than
SELECT livemigrate.migration_start(:source, split_tables_larger_than => '-1 GB');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, split_tables_larger_than => NULL);
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY sqlstate
SELECT livemigrate.migration_start(:source, split_tables_larger_than => 'big');
SELECT livemigrate.migration_start(:source, split_tables_larger_than => '');
SELECT livemigrate.migration_start(:source, split_tables_larger_than => '1 parsec');
SELECT livemigrate.migration_start(:source, split_tables_larger_than => '4 GB 2');
\set VERBOSITY default

-- Table patterns
SELECT livemigrate.migration_start(:source, include_tables => '{orders}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, include_tables => '{""}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, include_tables => '{.orders}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, include_tables => '{public.}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, include_tables => '{a.b.c}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, include_tables => ARRAY['public."orders']);
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, include_tables => '{NULL}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, exclude_tables => '{orders}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, exclude_tables => '{public.log_*,orders}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, exclude_table_data => '{orders}');
\echo :LAST_ERROR_SQLSTATE

-- on_existing
SELECT livemigrate.migration_start(:source, on_existing => 'drop');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, on_existing => '');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, on_existing => NULL);
\echo :LAST_ERROR_SQLSTATE

-- options: unknown keys, wrong types, values out of range
SELECT livemigrate.migration_start(:source, options => '[1]');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, options => '"apply_jobs"');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, options => 'null');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, options => '{"aply_jobs": 2}');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.migration_check(:source, options => '{"aply_jobs": 2}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, options => '{"": 2}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, options => '{"apply_jobs": "many"}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, options => '{"apply_jobs": null}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, options => '{"apply_jobs": 0}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, options => '{"apply_jobs": 33}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, options => '{"apply_jobs": 1e100}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, options => '{"database_settings": "yes"}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, options => '{"unlogged": 1}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, options => '{"existing_slot": true}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, options => '{"existing_slot": ""}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, options => '{"existing_slot": "My-Slot"}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, options => '{"publication": []}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, options => '{"publication": "app"}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, options => '{"slot_timeout": 60}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, options => '{"slot_timeout": "soon"}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, options => '{"slot_timeout": "-1 s"}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, options => '{"slot_timeout": "0"}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, options => '{"insert_only_tables": "public.log"}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, options => '{"insert_only_tables": [1]}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, options => '{"insert_only_tables": [null]}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_start(:source, options => '{"insert_only_tables": ["log"]}');
\echo :LAST_ERROR_SQLSTATE

-- Nothing was started.
SELECT count(*) FROM livemigrate.migrations;
SELECT count(*) FROM livemigrate.events;

-- A source that cannot be reached is a row of the check, and an error of the start.
SELECT check_id, severity, object FROM livemigrate.migration_check(:source);
\set VERBOSITY sqlstate
SELECT livemigrate.migration_start(:source);
\set VERBOSITY default
SELECT count(*) FROM livemigrate.migrations;

-- The other calls, with a migration that waits; and a second one of its name.
INSERT INTO livemigrate.migration
  (name, owner, source, source_redacted, requested_plugin, pause_after, table_jobs, index_jobs,
   split_bytes, exclude_tables, exclude_table_data, roles, restore_owner, restore_privileges,
   on_existing, options, stage, state, message)
VALUES
  ('main', 10, 'host=/nonexistent', 'host=/nonexistent', 'auto', '{}', 4, 4, 0, '{}', '{}', true,
   false, false, 'error', '{}', 'data', 'paused', 'paused in stage data');
SELECT livemigrate.migration_start(:source);
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_resume(pause_after => '{shcema}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_resume(pause_after => '{done}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.migration_resume(pause_after => '{NULL}');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.set_endpos('0/0');
\echo :LAST_ERROR_SQLSTATE
SELECT livemigrate.set_endpos('nonsense');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.compare_rows(max_rows => 0);
SELECT * FROM livemigrate.compare_data(tables => '{orders}');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.compare_data(tables => '{NULL}');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM livemigrate.compare_data(tables => '{public.orders}');
\echo :LAST_ERROR_SQLSTATE

-- Each of them left the migration as it was.
SELECT stage, state, pause_after, endpos FROM livemigrate.migrations;

-- migration_wait
CALL livemigrate.migration_wait('shcema');
\echo :LAST_ERROR_SQLSTATE
CALL livemigrate.migration_wait('');
\echo :LAST_ERROR_SQLSTATE
CALL livemigrate.migration_wait(NULL);
\echo :LAST_ERROR_SQLSTATE
CALL livemigrate.migration_wait('indexes', '-1 s');
\echo :LAST_ERROR_SQLSTATE
CALL livemigrate.migration_wait('indexes', 'nonsense');
\echo :LAST_ERROR_SQLSTATE
CALL livemigrate.migration_wait('indexes', '10 ms');
\echo :LAST_ERROR_SQLSTATE
CALL livemigrate.migration_wait('schema');

-- It ends its transaction while it waits, so it needs one of its own.
BEGIN;
CALL livemigrate.migration_wait('indexes');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
DO $$ BEGIN CALL livemigrate.migration_wait('schema'); END $$;
CREATE FUNCTION wait_inside() RETURNS void LANGUAGE plpgsql
AS $$ BEGIN CALL livemigrate.migration_wait('indexes', '10 ms'); END $$;
\set SHOW_CONTEXT never
SELECT wait_inside();
\echo :LAST_ERROR_SQLSTATE
DROP FUNCTION wait_inside();
DELETE FROM livemigrate.migration;

DROP EXTENSION livemigrate;
