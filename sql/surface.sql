-- The SQL surface is a contract: names, arguments, defaults and columns never change.
CREATE EXTENSION livemigrate;

-- The extension: one schema, for superusers to create, and not to be moved.
SELECT version, superuser, trusted, relocatable, schema, requires
FROM pg_available_extension_versions WHERE name = 'livemigrate';
SELECT extversion, extrelocatable, extnamespace::regnamespace
FROM pg_extension WHERE extname = 'livemigrate';
ALTER EXTENSION livemigrate SET SCHEMA public;
DROP EXTENSION livemigrate;
CREATE EXTENSION livemigrate SCHEMA public;
CREATE EXTENSION livemigrate;

-- Functions and procedures, with what they return.
SELECT p.proname, p.prokind AS kind, p.proretset AS set,
       CASE WHEN p.proargmodes IS NULL OR NOT 'o' = ANY (p.proargmodes)
            THEN pg_get_function_result(p.oid) ELSE 'columns' END AS returns
FROM pg_proc p WHERE p.pronamespace = 'livemigrate'::regnamespace ORDER BY p.proname;

-- Their arguments, in order.
SELECT p.proname, a.position, a.name, a.type::regtype,
       pg_get_function_arg_default(p.oid, a.position::int) AS default
FROM pg_proc p
CROSS JOIN LATERAL unnest(COALESCE(p.proallargtypes, p.proargtypes::oid[]), p.proargnames,
                          p.proargmodes) WITH ORDINALITY AS a(type, name, mode, position)
WHERE p.pronamespace = 'livemigrate'::regnamespace AND COALESCE(a.mode, 'i') = 'i'
ORDER BY p.proname, a.position;

-- The columns of those that return rows, in order.
SELECT p.proname,
       row_number() OVER (PARTITION BY p.oid ORDER BY a.position) AS position,
       a.name, a.type::regtype
FROM pg_proc p
CROSS JOIN LATERAL unnest(p.proallargtypes, p.proargnames, p.proargmodes)
                   WITH ORDINALITY AS a(type, name, mode, position)
WHERE p.pronamespace = 'livemigrate'::regnamespace AND a.mode = 'o'
ORDER BY p.proname, a.position;

-- Views and their columns.
SELECT table_name, ordinal_position AS position, column_name,
       udt_name::regtype::text AS type
FROM information_schema.columns
JOIN information_schema.views USING (table_schema, table_name)
WHERE table_schema = 'livemigrate' ORDER BY table_name, ordinal_position;

-- Every setting has a unit where it is a quantity, and a description.
SELECT name, boot_val, unit, vartype, context, min_val, max_val, short_desc
FROM pg_settings WHERE name LIKE 'livemigrate.%' ORDER BY name;

-- Nobody but the owner may use any of it. A function without an ACL would be everybody's.
SELECT p.proname AS executable_by_everybody FROM pg_proc p
WHERE p.pronamespace = 'livemigrate'::regnamespace
  AND (p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 0));
SELECT c.relname AS accessible_for_everybody
FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
WHERE c.relnamespace = 'livemigrate'::regnamespace AND a.grantee = 0;
SELECT a.privilege_type AS everybody_on_schema
FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) a
WHERE n.nspname = 'livemigrate' AND a.grantee = 0;
CREATE ROLE regress_livemigrate_nobody;
SET ROLE regress_livemigrate_nobody;
SELECT * FROM livemigrate.migrations;
RESET ROLE;
GRANT USAGE ON SCHEMA livemigrate TO regress_livemigrate_nobody;
SET ROLE regress_livemigrate_nobody;
SELECT livemigrate.migration_start('host=/nonexistent');
SELECT * FROM livemigrate.migration_check('host=/nonexistent');
SELECT * FROM livemigrate.migration_status();
CALL livemigrate.migration_wait();
SELECT source FROM livemigrate.migration;
SELECT * FROM livemigrate.migrations;
RESET ROLE;
REVOKE USAGE ON SCHEMA livemigrate FROM regress_livemigrate_nobody;
DROP ROLE regress_livemigrate_nobody;

-- No function runs with another role's rights, and each has a search_path of its own; a procedure
-- that commits cannot have one.
SELECT proname, prosecdef, proconfig FROM pg_proc
WHERE pronamespace = 'livemigrate'::regnamespace
  AND (prosecdef OR proconfig IS DISTINCT FROM '{"search_path=pg_catalog, pg_temp"}')
ORDER BY proname;

-- Everything in the schema belongs to the extension.
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = 'livemigrate'::regnamespace AND c.relkind IN ('r', 'v')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                  AND d.objid = c.oid AND d.deptype = 'e');

DROP EXTENSION livemigrate;
SELECT count(*) AS left_behind FROM pg_class WHERE relnamespace = 'livemigrate'::regnamespace;
