-- One line of migration_status for a person: :'clock' is what the first column says.
SELECT format('%7s  %-9s %-8s %5s  %14s  %-14s  %s',
              :'clock', stage, state,
              CASE stage
                WHEN 'data' THEN 100 * bytes_done / greatest(bytes_total, 1) || ' %'
                WHEN 'indexes' THEN 100 * indexes_done / greatest(indexes_total, 1) || ' %' END,
              CASE
                WHEN stage = 'data'
                  THEN pg_size_pretty(round(copy_bytes_per_second)::bigint) || '/s'
                WHEN stage IN ('catchup', 'streaming')
                  THEN round(changes_per_second) || ' changes/s' END,
              concat_ws(', ', pg_size_pretty(lag_bytes),
                        round(extract(epoch FROM replay_lag) * 1000) || ' ms'),
              left(regexp_replace(message, '\s+', ' ', 'g'), 30))
  FROM livemigrate.migration_status();
