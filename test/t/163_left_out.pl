# What is left out, and what that takes with it: foreign keys to tables without their rows, views,
# rules, policies and functions of excluded tables, statements that name roles which are not there,
# passwords in statements that fail; and ranges of a comparison that are read under another DateStyle.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my ($source, $target) = ($pair->source, $pair->target);
$pair->source_sql(<<'SQL');
CREATE TABLE large (id int PRIMARY KEY); INSERT INTO large VALUES (1), (2);
CREATE TABLE orders (id int PRIMARY KEY, large int CONSTRAINT to_large REFERENCES large);
INSERT INTO orders VALUES (1, 1), (2, 2);
CREATE TABLE cut (id int, large int CONSTRAINT of_cut REFERENCES large, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE cut_1 PARTITION OF cut DEFAULT; INSERT INTO cut VALUES (1, 1);
CREATE TABLE audit (id int); ALTER TABLE audit REPLICA IDENTITY FULL;
CREATE VIEW of_orders AS SELECT count(*) FROM orders;
CREATE VIEW of_audit AS SELECT count(*) FROM audit;
CREATE VIEW of_that AS SELECT * FROM of_audit;
CREATE TABLE logged (id int PRIMARY KEY, at timestamp); CREATE VIEW of_logged AS SELECT id FROM logged;
CREATE RULE also AS ON INSERT TO logged DO ALSO INSERT INTO audit VALUES (NEW.id);
CREATE TABLE halves (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE half_1 PARTITION OF halves FOR VALUES FROM (0) TO (10); CREATE TABLE half_2 PARTITION OF halves DEFAULT;
INSERT INTO halves VALUES (1), (11);
CREATE TABLE of_halves (id int PRIMARY KEY, half int CONSTRAINT to_halves REFERENCES halves);
INSERT INTO of_halves VALUES (1, 1), (2, 11);
CREATE TABLE guarded (id int PRIMARY KEY); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_audit ON guarded AS RESTRICTIVE USING (id IN (SELECT id FROM audit));
COMMENT ON POLICY of_audit ON guarded IS 'goes with it';
CREATE POLICY of_orders ON guarded USING (EXISTS (WITH audit AS (SELECT 1) SELECT FROM orders, audit));
COMMENT ON POLICY of_orders ON guarded IS 'stays';
CREATE FUNCTION audited() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM audit; END;
COMMENT ON FUNCTION audited() IS 'goes with it';
CREATE FUNCTION audited(lowest int) RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM orders WHERE id > lowest; END;
COMMENT ON FUNCTION audited(int) IS 'stays';
CREATE FUNCTION audited(lowest text) RETURNS bigint LANGUAGE sql RETURN (SELECT count(*) FROM audit WHERE id > lowest::int);
CREATE FUNCTION returned(lowest int) RETURNS bigint LANGUAGE sql RETURN (SELECT count(*) FROM orders WHERE id > lowest) + 1;
CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
CREATE FOREIGN TABLE far_away (id int) SERVER nowhere; CREATE FOREIGN TABLE far_kept (id int) SERVER nowhere;
CREATE VIEW of_far AS SELECT * FROM far_away;
CREATE TABLE by_time (at timestamp PRIMARY KEY, v text);
INSERT INTO by_time SELECT '2023-01-01'::timestamp + g * interval '47 minutes', repeat('x', 100) FROM generate_series(1, 40000) g;
ANALYZE by_time;
SQL
$pair->source_sql("COMMENT ON RULE also ON logged IS 'goes with it'; ALTER TABLE logged DISABLE RULE also");
$pair->source_sql('CREATE RULE also AS ON DELETE TO of_logged DO INSTEAD INSERT INTO audit VALUES (OLD.id)');
$pair->start(exclude_table_data => [ 'public.large', 'public.half_2' ], exclude_tables => [ 'public.audit', 'public.far_away' ]);
$pair->wait_stage('streaming');
is($pair->target_sql("SELECT string_agg(relname, ' ') FROM pg_class WHERE relkind = 'f'"), 'far_kept',
    'a foreign table can be left out, too');
is($pair->target_sql("SELECT conname || ' ' || convalidated FROM pg_constraint WHERE contype = 'f' AND conparentid = 0 AND connamespace = 'public'::regnamespace ORDER BY 1"),
    "to_halves false\nto_large false", 'a foreign key to a table without its rows is there, and not validated');
my $notes = $pair->target_sql("SELECT string_agg(message, E'\n' ORDER BY message) FROM livemigrate.events WHERE severity = 'notice'");
like($notes, qr/foreign key "to_large" of .* is not validated: the rows of .*"large" are not copied.*VALIDATE CONSTRAINT "to_large";/,
    'it is told, with the statement for later');
like($notes, qr/foreign key "of_cut" of .* is not created: .* When they are there: ALTER TABLE "public"."cut" ADD/, 'of a partitioned table it cannot be there');
is($pair->target_sql("SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relkind = 'v'
        AND relnamespace = 'public'::regnamespace"), 'of_orders',
    'views of excluded tables are left out, and those with rules to them, and no others')
  or diag $notes;

like($notes, qr/foreign key "to_halves" of .* is not validated: some rows of .*"halves" are not copied/,
    'nor can one be validated to a partitioned table that lacks the rows of a partition');
like($notes, qr/rule "also" of "public"."logged" is left out: it refers to "public"."audit", which is not migrated/,
    'a rule of an excluded table is left out');
like($notes, qr/function "public"."audited" is left out/, 'so is a function');
like($pair->target_sql("SELECT string_agg(message, E'\n') FROM livemigrate.events WHERE severity = 'warning'"),
    qr/^policy "of_audit" of "public"."guarded" is left out: it refers to "public"."audit"/m,
    'of a policy, which may have kept people out, a warning tells');
is($pair->target_sql("SELECT (SELECT string_agg(polname, ' ' ORDER BY polname) FROM pg_policy), (SELECT count(*) FROM pg_rewrite
            WHERE ev_class = 'logged'::regclass), (SELECT string_agg(oid::regprocedure::text, ' ') FROM pg_proc WHERE proname = 'audited'),
        (SELECT string_agg(DISTINCT description, ' ') FROM pg_description WHERE classoid IN ('pg_policy'::regclass, 'pg_rewrite'::regclass)
            OR objoid = 'audited(int)'::regprocedure)"),
    'of_audit of_orders|0|audited(integer)|stays', 'the others are there, and comments of what is there');
is($pair->target_sql('SELECT returned(0)'), $pair->source_sql('SELECT returned(0)'), '... a function that is one RETURN, too');
is($pair->target_sql("SELECT polpermissive, polcmd, pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polname = 'of_audit'"),
    'f|*|false', 'in place of a restrictive policy stands one that lets nobody see a row');

# --- ranges of dates, by a caller who writes them otherwise
for my $style ('SQL, DMY', 'German', 'Postgres, DMY') {
    is($pair->target_sql("SET DateStyle = '$style'; SET livemigrate.compare_range_size = '1MB';"
              . " SELECT equal, rows FROM (SELECT equal, source_rows AS rows FROM"
              . " livemigrate.compare_data(tables => '{public.by_time}')) c"), 't|40000', "compared under $style");
}
cmp_ok($pair->target_sql("SELECT max(ranges) FROM livemigrate.compare_progress WHERE table_name = 'by_time'"),
    '>', 3, 'in ranges');
$pair->set_endpos;
$pair->wait_stage('done');
$pair->cleanup;

# --- a role that is not there
my $named = $pair->database('named');
$named->source_sql(<<'SQL');
CREATE ROLE publisher; GRANT CREATE ON DATABASE named TO publisher;
CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION news FOR TABLE t; ALTER PUBLICATION news OWNER TO publisher;
SQL
$named->start(roles => \'false', owner => \'true');
$named->wait_stage('streaming');
like($named->target_sql("SELECT string_agg(message, E'\n') FROM livemigrate.events WHERE severity = 'warning'"),
    qr/^a part of publication "news" is left out: role "publisher" does not exist; .*OWNER TO/m,
    'what names a role that is not there is told');
$named->abort;
$named->cleanup;

# --- a statement with a password that fails
my $secret = $pair->database('secret');
$secret->source_sql(<<'SQL');
CREATE ROLE only_there; CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw;
CREATE USER MAPPING FOR only_there SERVER far OPTIONS (user 'u', password 'very secret');
SQL
$secret->start(roles => \'false');
$secret->wait_state('failed');
my $told = $secret->target_sql("SELECT concat(to_jsonb(m), (SELECT jsonb_agg(e) FROM livemigrate.events e),
    livemigrate.migration_report('secret')) FROM livemigrate.migrations m WHERE m.migration = 'secret'");
like($told, qr/USER MAPPING FOR .*only_there/, 'the statement that failed is told');
unlike($told, qr/very secret/, 'and not its password');
$secret->abort;
$secret->cleanup;

done_testing();
