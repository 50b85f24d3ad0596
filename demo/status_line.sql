-- One line of migration_status for a person: :'clock' is what the first column says.
WITH status AS (
  SELECT *, extract(epoch FROM replay_lag) AS seconds FROM livemigrate.migration_status())
SELECT format('%7s %-9s %-8s %5s %11s  %-13s  %s',
              :'clock', stage, state,
              CASE stage
                WHEN 'data' THEN 100 * bytes_done / greatest(bytes_total, 1) || ' %'
                WHEN 'indexes' THEN 100 * indexes_done / greatest(indexes_total, 1) || ' %' END,
              CASE
                WHEN stage = 'data' THEN pg_size_pretty(copy_bytes_per_second::bigint) || '/s'
                WHEN stage IN ('catchup', 'streaming') THEN round(changes_per_second) || ' rows/s'
              END,
              concat_ws(', ',
                        CASE WHEN lag_bytes < 1e6 THEN round(lag_bytes / 1e3) || ' kB'
                             ELSE round(lag_bytes / 1e6, 1) || ' MB' END,
                        CASE WHEN seconds < 1 THEN round(seconds * 1000) || ' ms'
                             ELSE round(seconds, (seconds < 10)::int) || ' s' END),
              left(regexp_replace(message, '\s+', ' ', 'g'), 37))
  FROM status;
