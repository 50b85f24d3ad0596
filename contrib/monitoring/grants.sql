-- Lets the role `monitor` read livemigrate's metrics, and nothing that could hold a secret: neither
-- the connection strings of migrations nor the SQL of jobs. Run in the target database by the owner
-- of the extension, after CREATE EXTENSION livemigrate.

GRANT USAGE ON SCHEMA livemigrate TO monitor;
GRANT SELECT ON livemigrate.metrics, livemigrate.lag_history, livemigrate.events,
                livemigrate.migrations TO monitor;

-- What those views read. Functions in a view run with the rights of whoever reads the view.
GRANT EXECUTE ON FUNCTION livemigrate.migration_status(name), livemigrate.live_workers(int),
                          livemigrate.live_rates(int) TO monitor;
GRANT SELECT (id, name, stage, stage_ended, state, message, hint, plugin, slot_name, slot_created,
              slot_sent, coordinator_starts, snapshot_lsn, source_lsn, received_lsn, flushed_lsn,
              origin_name, endpos, transactions_applied, changes_applied, changes_skipped,
              started_at, stage_started_at, attempts, next_attempt_at, last_error, dsm_handle,
              cleaned_up_at, options,
              tables_total, tables_done, bytes_total, bytes_done, rows_done, indexes_total,
              indexes_done)
  ON livemigrate.migration TO monitor;
GRANT SELECT (migration, copy_data, state, bytes, bytes_done, rows_done)
  ON livemigrate.table_copy TO monitor;
GRANT SELECT (migration, phase, state) ON livemigrate.schema_job TO monitor;
GRANT SELECT (id, migration, severity) ON livemigrate.event TO monitor;
GRANT SELECT (migration) ON livemigrate.conflict TO monitor;

-- With it migration_status() also says since when those have their transactions open whose locks a
-- worker waits for. Run by a superuser: GRANT pg_read_all_stats TO monitor;
