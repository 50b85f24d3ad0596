# What is left out, and what that takes with it: foreign keys to tables without their rows, views and
# rules of excluded tables, passwords in statements that fail; and ranges of a comparison that are
# read under another DateStyle.
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
CREATE TABLE by_time (at timestamp PRIMARY KEY, v text);
INSERT INTO by_time SELECT '2023-01-01'::timestamp + g * interval '47 minutes', repeat('x', 100) FROM generate_series(1, 40000) g;
ANALYZE by_time;
SQL
$pair->source_sql('DROP RULE also ON logged');
$pair->source_sql('CREATE RULE also AS ON DELETE TO of_logged DO INSTEAD INSERT INTO audit VALUES (OLD.id)');
$pair->start(exclude_table_data => ['public.large'], exclude_tables => ['public.audit']);
$pair->wait_stage('streaming', 60);
is($pair->target_sql("SELECT conname || ' ' || convalidated FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace ORDER BY 1"),
    'to_large false', 'a foreign key to a table without its rows is there, and not validated');
my $notes = $pair->target_sql("SELECT string_agg(message, E'\n' ORDER BY message) FROM livemigrate.events WHERE severity = 'notice'");
like($notes, qr/foreign key "to_large" of .* is not validated: the rows of .*"large" are not copied.*VALIDATE CONSTRAINT "to_large";/,
    'it is told, with the statement for later');
like($notes, qr/foreign key "of_cut" of .* is not created/, 'of a partitioned table it cannot be there');
is($pair->target_sql("SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relkind = 'v'
        AND relnamespace = 'public'::regnamespace"), 'of_orders',
    'views of excluded tables are left out, and those with rules to them, and no others')
  or diag $notes;

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
