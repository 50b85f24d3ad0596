-- Prints what the database holds, one line for each table, materialized view, sequence and the
-- large objects: kind, name, rows, hash. The hash is a sum over the rows' text images, so the
-- order in which rows are stored does not matter. Runs alike on source and target.
SET search_path = pg_catalog;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
SET IntervalStyle = 'postgres';
SET extra_float_digits = 3;
SET bytea_output = 'hex';

-- Partitions leaf by leaf: a row has to be in the right one.
SELECT format($$ SELECT %L, %L, count(*), coalesce(sum(hashtextextended(t::text, 0)), 0)
                   FROM ONLY %s AS t $$,
              CASE relkind WHEN 'r' THEN 'table' ELSE 'materialized view' END,
              oid::regclass, oid::regclass)
  FROM pg_class
 WHERE relkind IN ('r', 'm') AND relpersistence <> 't'
   AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', 'livemigrate')
   AND relnamespace::regnamespace::text NOT LIKE 'pg\_toast%'
 ORDER BY relpages DESC, oid::regclass::text
\gexec

SELECT format($$ SELECT 'sequence', %L, 1, concat_ws(' ', last_value, is_called) FROM %s $$,
              oid::regclass, oid::regclass)
  FROM pg_class
 WHERE relkind = 'S' AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'livemigrate')
\gexec

SELECT 'large object', oid, length(lo_get(oid)), md5(lo_get(oid)) FROM pg_largeobject_metadata;
