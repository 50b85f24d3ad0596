-- Prints what the database is made of, one line for each object: kind, name, definition. Runs
-- alike on source and target. Constraints that a partition inherits have names of the server's
-- choice, so they count by their definition alone.
SET search_path = pg_catalog;

CREATE TEMPORARY VIEW relation AS
  SELECT * FROM pg_class
   WHERE relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', 'livemigrate')
     AND relnamespace::regnamespace::text NOT LIKE 'pg\_t%';

CREATE TEMPORARY VIEW definition (kind, name, body) AS
  SELECT 'table', c.oid::regclass::text,
         ROW(c.relkind, c.relpersistence, c.relreplident, c.reloptions, pg_get_partkeydef(c.oid),
             pg_get_expr(c.relpartbound, c.oid))::text
    FROM relation c WHERE c.relkind IN ('r', 'p')
UNION ALL
  SELECT 'column', c.oid::regclass || '.' || a.attname,
         ROW(format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
             a.attstorage, a.attcollation::regcollation, pg_get_expr(d.adbin, d.adrelid))::text
    FROM relation c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
   WHERE c.relkind IN ('r', 'p', 'm', 'v', 'c')
UNION ALL
  SELECT CASE contype WHEN 'f' THEN 'foreign key' ELSE 'constraint' END,
         concat(CASE conparentid WHEN 0 THEN conname ELSE '(inherited)' END, ' on ',
                nullif(conrelid, 0)::regclass, nullif(contypid, 0)::regtype),
         ROW(contype, convalidated, pg_get_constraintdef(oid))::text
    FROM pg_constraint
   WHERE conrelid IN (SELECT oid FROM relation)
      OR contypid IN (SELECT oid FROM pg_type
                       WHERE typnamespace::regnamespace::text IN ('public', 'shop'))
UNION ALL
  SELECT 'index', indexrelid::regclass::text,
         ROW(indisvalid, indisready, indisreplident, indisclustered,
             pg_get_indexdef(indexrelid))::text
    FROM pg_index WHERE indrelid IN (SELECT oid FROM relation)
UNION ALL
  SELECT 'trigger', tgname || ' on ' || tgrelid::regclass,
         ROW(tgenabled, pg_get_triggerdef(oid))::text
    FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM relation) AND NOT tgisinternal
UNION ALL
  SELECT 'view', oid::regclass::text,
         ROW(relkind, reloptions, relispopulated, pg_get_viewdef(oid))::text
    FROM relation WHERE relkind IN ('v', 'm')
UNION ALL
  SELECT 'function', oid::regprocedure::text, pg_get_functiondef(oid)
    FROM pg_proc
   WHERE pronamespace::regnamespace::text IN ('public', 'shop') AND prokind IN ('f', 'p')
UNION ALL
  SELECT 'type', t.oid::regtype::text,
         ROW(t.typtype, t.typnotnull, t.typdefault, format_type(t.typbasetype, t.typtypmod),
             (SELECT array_agg(enumlabel ORDER BY enumsortorder) FROM pg_enum
               WHERE enumtypid = t.oid))::text
    FROM pg_type t
   WHERE t.typnamespace::regnamespace::text IN ('public', 'shop')
UNION ALL
  SELECT 'sequence', seqrelid::regclass::text,
         ROW(seqtypid::regtype, seqstart, seqincrement, seqmin, seqmax, seqcache, seqcycle,
             (SELECT ROW(d.refobjid::regclass, d.refobjsubid, d.deptype) FROM pg_depend d
               WHERE d.classid = 'pg_class'::regclass AND d.objid = seqrelid
                 AND d.deptype IN ('a', 'i')))::text
    FROM pg_sequence WHERE seqrelid IN (SELECT oid FROM relation)
UNION ALL
  SELECT 'statistics', stxname, pg_get_statisticsobjdef(oid) FROM pg_statistic_ext
UNION ALL
  SELECT 'comment', o.type || ' ' || o.identity, d.description
    FROM pg_description d, pg_identify_object(d.classoid, d.objoid, d.objsubid) o
   WHERE d.objoid >= 16384
     AND o.identity !~ '^livemigrate\y' AND o.schema IS DISTINCT FROM 'livemigrate'
UNION ALL
  SELECT 'role', rolname, ROW(rolcanlogin, rolinherit)::text
    FROM pg_roles WHERE rolname IN ('shop_owner', 'shop_app', 'migrator');

SELECT kind, name, regexp_replace(body, '\s+', ' ', 'g') FROM definition;
