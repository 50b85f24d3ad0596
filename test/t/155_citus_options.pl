# Tables that the options name for Citus: mistakes in them, what Citus refuses of such tables, found
# by migration_check and at the beginning of stage data, and a migration into a coordinator with a
# worker node.  Skipped where Citus is not installed for the server under test.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JSON::PP;
use LiveMigrate::Citus;
use Test::More;

my $pair    = LiveMigrate::Citus->new_or_skip(worker_nodes => 1);
my $source  = LiveMigrate::Test::quote_literal($pair->conninfo);
my %command = LiveMigrate::Test::page_commands('citus.md');

$pair->source_sql(<<'SQL');
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE plan (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE tenant (id bigint PRIMARY KEY, plan int REFERENCES plan, name text NOT NULL);
CREATE TABLE project (tenant_id bigint NOT NULL REFERENCES tenant ON DELETE CASCADE, id bigserial, feels mood,
    PRIMARY KEY (tenant_id, id));
CREATE TABLE task (tenant_id bigint, id bigserial, project bigint, body text, PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, project) REFERENCES project ON DELETE CASCADE);
CREATE TABLE remark (id int PRIMARY KEY, plan int REFERENCES plan, body text);
CREATE TABLE event (tenant_id bigint NOT NULL, at date NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE event_old PARTITION OF event FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
INSERT INTO plan VALUES (1, 'free'), (2, 'paid');
INSERT INTO tenant SELECT g, 1 + g % 2, 'tenant ' || g FROM generate_series(1, 30) g;
INSERT INTO project (tenant_id, feels) SELECT 1 + g % 30, (ARRAY['good', 'bad'])[1 + g % 2]::mood FROM generate_series(1, 300) g;
INSERT INTO task (tenant_id, project, body) SELECT tenant_id, id, 't' FROM project, generate_series(1, 3);
INSERT INTO remark SELECT g, 1 + g % 2, 'r' FROM generate_series(1, 20) g;
SQL

# --- mistakes change nothing
my $tenant = { table => 'tenant', column => 'id' };
for my $bad (
    [ 'entry 1 of option "distributed_tables" has an unknown key "shards"', { %$tenant, shards => 3 } ],
    [ 'entry 2 of option "distributed_tables" lacks key column', $tenant, { table => 'project' } ],
    [ 'entry 1 of option "distributed_tables" lacks key table', { column => 'id' } ],
    [ 'entry 1 of option "distributed_tables" is not a JSON object', 'tenant' ],
    [ 'has a value of "shard_count" that is no number', { %$tenant, shard_count => '3' } ],
    [ 'has shard_count out of range: 0', { %$tenant, shard_count => 0 } ],
    [ 'has shard_count out of range: 64001', { %$tenant, shard_count => 64001 } ],
    [ 'has both shard_count and a table', { %$tenant, shard_count => 2, colocate_with => 'project' } ],
    [ 'entry 2 of option "distributed_tables" names "public"."tenant" again', $tenant, $tenant ],
    [ 'entry 1 of option "distributed_tables" is to be colocated with a table that waits for it',
        { %$tenant, colocate_with => 'project' },
        { table => 'project', column => 'tenant_id', colocate_with => 'tenant' } ],
    [ 'table "public"."nosuch", which the options name, is not migrated', { %$tenant, table => 'nosuch' } ],
    [ 'table "public"."tenant" has no column "nosuch"', { %$tenant, column => 'nosuch' } ],
    [ 'table "public"."event_old" is a partition', { table => 'event_old', column => 'tenant_id' } ],
    [ 'cannot be colocated with "public"."plan", which is no distributed table', { %$tenant, colocate_with => 'plan' } ],
    [ 'their distribution columns differ', $tenant, { table => 'plan', column => 'name', colocate_with => 'tenant' } ],
) {
    my ($message, @entries) = @$bad;
    my $error = $pair->target_error($pair->start_sql(options => { distributed_tables => \@entries }));
    like($error->{message}, qr/\Q$message/, "refused: $message");
    ok($error->{hint}, '... with a hint');
}
for my $bad (
    [ 'entry 1 of option "reference_tables" is not a JSON string', reference_tables => [5] ],
    [ 'option "reference_tables" must be a JSON array',            reference_tables => 'plan' ],
    [ 'names "public"."tenant" again', reference_tables => ['tenant'], distributed_tables => [$tenant] ],
    [ 'table "public"."event" is partitioned',            reference_tables => ['event'] ],
    [ 'cannot be both a hypertable and one of Citus\'s', reference_tables => ['tenant'],
        hypertables => [ { table => 'tenant', time_column => 'id' } ] ],
) {
    my ($message, %options) = @$bad;
    my $error = $pair->target_error($pair->start_sql(options => \%options));
    like($error->{message}, qr/\Q$message/, "refused: $message");
}
like($pair->target_error($pair->start_sql(on_existing => 'truncate', options => { distributed_tables => [$tenant] }))->{message},
    qr/are for tables that the migration makes/, 'refused: tables that are there');
{
    my $without = $pair->LiveMigrate::Test::database('without');
    my $error   = $without->target_error($without->start_sql(options => { reference_tables => ['plan'] }));
    is("$error->{sqlstate} $error->{hint}", '42704 CREATE EXTENSION citus;', 'a database without Citus');
}
is($pair->target_sql('SELECT count(*) FROM livemigrate.migrations'), '0', 'nothing was started');
is($pair->target_sql("SELECT count(*) FROM pg_dist_partition"), '0', '... and nothing distributed');

# --- a migration, as the page has it but for its tables
sub checked {
    my ($one, $options, $severity) = @_;
    my $from = LiveMigrate::Test::quote_literal($one->conninfo);
    my $json = LiveMigrate::Test::quote_literal(JSON::PP->new->encode($options));
    return $one->target_sql("SELECT message, fix FROM livemigrate.migration_check($from, options => $json)
        WHERE check_id ~ '^citus' AND severity ~ '$severity' ORDER BY message");
}
like($pair->target_sql("SELECT severity || ' ' || message FROM livemigrate.migration_check($source) WHERE check_id = 'citus'"),
    qr/^notice no table is distributed yet: .*triggers/, 'what will be looked for is told');

$command{$_} =~ s/'host=old\.example[^']*'/$source/ for qw(upfront_check upfront);
is($pair->target_sql($command{upfront_check}), 'ok|4 tables to be kept by Citus|', 'the page: the check finds nothing');
$pair->target_sql($command{upfront});
$pair->wait_stage('streaming');
is( $pair->target_sql("SELECT table_name, citus_table_type, distribution_column, shard_count,
        colocation_id = (SELECT colocation_id FROM citus_tables WHERE table_name = 'tenant'::regclass)
        FROM citus_tables WHERE table_name <> 'remark'::regclass ORDER BY table_name::text"),
    join("\n", 'plan|reference|<none>|1|f', 'project|distributed|tenant_id|8|t', 'task|distributed|tenant_id|8|t',
        'tenant|distributed|id|8|t'),
    'the page: tables are distributed');
$pair->source_sql(<<'SQL');
INSERT INTO tenant SELECT g, 2, 'new' FROM generate_series(31, 40) g; UPDATE tenant SET name = upper(name) WHERE plan = 1;
INSERT INTO project (tenant_id, feels) SELECT g, 'bad' FROM generate_series(31, 40) g; DELETE FROM project WHERE id % 7 = 0;
UPDATE plan SET name = 'old' WHERE id = 1; UPDATE remark SET body = 's' WHERE id % 2 = 0; DELETE FROM remark WHERE id = 5;
BEGIN; DELETE FROM tenant WHERE id = 3; ROLLBACK; DELETE FROM tenant WHERE id = 4; UPDATE task SET body = 'u' WHERE id % 3 = 0;
SQL
$pair->set_endpos;
$pair->wait_stage('done');
sub assert_no_difference {
    my ($one) = @_;
    is($one->target_sql('SELECT relation, source_rows, target_rows FROM livemigrate.compare_data() WHERE NOT equal'),
        '', $one->name . ': compare_data finds no difference');
    is($one->target_sql("SELECT * FROM livemigrate.compare_schema() WHERE object !~ '^extension '"), '',
        $one->name . ': compare_schema finds no difference');
}
assert_no_difference($pair);
$pair->assert_equal_rows('the page', qw(plan tenant project task remark));
$pair->cleanup;
$pair->assert_nothing_left('nothing left');

# --- partitions, names that need quotes, an order of making, and a node that is away meanwhile
my $shapes = $pair->database('shapes');
$shapes->source_sql(<<'SQL');
CREATE TABLE tenant (id bigint PRIMARY KEY);
CREATE TABLE event (tenant_id bigint NOT NULL, at date NOT NULL, id int, what text,
    PRIMARY KEY (tenant_id, at, id)) PARTITION BY RANGE (at);
CREATE TABLE event_old PARTITION OF event FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
CREATE TABLE event_new PARTITION OF event FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);
CREATE INDEX ON event (tenant_id, what);
CREATE TABLE "A.b ""c" ("Key's" text PRIMARY KEY, n int);
CREATE TABLE member (tenant_id bigint, person int, PRIMARY KEY (tenant_id, person));
CREATE TABLE tag (name text PRIMARY KEY);
INSERT INTO member SELECT 1 + g % 30, g FROM generate_series(1, 90) g; INSERT INTO tag VALUES ('a'), ('b'), ('c');
INSERT INTO tenant SELECT generate_series(1, 30);
INSERT INTO event SELECT 1 + g % 30, date '2025-12-01' + g % 60, g, 'e' FROM generate_series(1, 600) g;
INSERT INTO "A.b ""c" SELECT 'k' || g, g FROM generate_series(1, 100) g;
SQL
my %shapes = (reference_tables => ['tag'], distributed_tables => [
        { table => 'member', column => 'tenant_id', colocate_with => 'event' },
        { table => 'public.event', column => 'tenant_id', colocate_with => 'tenant' },
        { table => '"A.b ""c"', column => "Key's", colocate_with => 'none', shard_count => 2 },
        { table => 'tenant', column => 'id', shard_count => 3 } ]);
is(checked($shapes, \%shapes, 'ok'), '7 tables to be kept by Citus|', 'the check finds nothing');
my ($node) = $pair->worker_nodes;
$node->stop('immediate');
$shapes->start(plugin => 'wal2json', pause_after => ['schema'], options => \%shapes);
my $state = $shapes->wait_state('retrying|failed');
is($shapes->target_sql('SELECT count(*) FROM pg_dist_partition WHERE partmethod = $$h$$'), '0', "no node to place a table on: $state");
$node->start;
$shapes->resume if $state eq 'failed';
$shapes->wait_state('paused');
# Not by citus_tables, which asks the nodes for sizes, in this session by a connection from before.
is( $shapes->target_sql("SELECT logicalrelid, COALESCE(column_to_column_name(logicalrelid, partkey), '<none>'),
        (SELECT count(*) FROM pg_dist_shard s WHERE s.logicalrelid = p.logicalrelid)
        FROM pg_dist_partition p ORDER BY logicalrelid::text"),
    join("\n", q{"A.b ""c"|Key's|2}, (map { "$_|tenant_id|3" } qw(event event_new event_old member)),
        'tag|<none>|1', 'tenant|id|3'),
    'goes on with the node');
$shapes->resume([]);
$shapes->wait_stage('streaming');
# Jobs of a phase run side by side: either would make an index of its own on a partition.
is($shapes->target_sql("SELECT count(*), bool_and(r.phase > p.phase) FROM livemigrate.schema_job r, livemigrate.schema_job p
        WHERE r.object_name IN ('event_pkey', 'event_tenant_id_what_idx') AND r.sql !~ 'ATTACH' AND p.sql !~ 'ATTACH'
            AND p.object_name IN (replace(r.object_name, 'event', 'event_old'), replace(r.object_name, 'event', 'event_new'))"),
    '4|t', 'a partitioned table takes over the indexes of its partitions');
$shapes->source_sql(<<'SQL');
UPDATE event SET what = 'f' WHERE id % 5 = 0; UPDATE event SET at = date '2026-03-01' WHERE id % 50 = 1;
DELETE FROM event WHERE id % 9 = 0; INSERT INTO event VALUES (40, '2020-01-01', 9000, 'new');
UPDATE "A.b ""c" SET "Key's" = 'm' || n WHERE n < 10; DELETE FROM "A.b ""c" WHERE n = 20; DELETE FROM tenant WHERE id = 2;
-- Keys that are all of the row.
UPDATE member SET person = person + 1000 WHERE person % 4 = 0; UPDATE member SET tenant_id = 77 WHERE person = 5;
DELETE FROM member WHERE person % 10 = 1; UPDATE tag SET name = 'd' WHERE name = 'a'; DELETE FROM tag WHERE name = 'b';
SQL
$shapes->set_endpos;
$shapes->wait_stage('done');
assert_no_difference($shapes);
$shapes->assert_equal_rows('shapes', qw(tenant event member tag), '"A.b ""c"');
$shapes->cleanup;

# --- what Citus refuses
my $limits = $pair->database('limits');
$limits->source_sql(<<'SQL');
CREATE EXTENSION btree_gist;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TABLE country (id int PRIMARY KEY);
CREATE TABLE account (tenant int NOT NULL, id int, country int REFERENCES country, span int4range, mail text UNIQUE,
    PRIMARY KEY (tenant, id), EXCLUDE USING gist (span WITH &&), CONSTRAINT apart EXCLUDE USING gist (tenant WITH <>, span WITH &&));
CREATE TRIGGER touches BEFORE UPDATE ON account FOR EACH ROW EXECUTE FUNCTION touch();
CREATE STATISTICS by_half ON (id / 2), tenant FROM account;
CREATE INDEX account_id ON account (id); CLUSTER account USING account_id;
CREATE TABLE allowed (tenant int PRIMARY KEY);
CREATE POLICY only_allowed ON account USING (EXISTS (SELECT FROM allowed a WHERE a.tenant = account.tenant));
CREATE TABLE visit (tenant int, account int, id int, PRIMARY KEY (tenant, id),
    CONSTRAINT cleared FOREIGN KEY (tenant, account) REFERENCES account ON DELETE SET NULL (account),
    CONSTRAINT moved FOREIGN KEY (tenant, account) REFERENCES account ON UPDATE CASCADE);
CREATE TABLE line (tenant int, at text); ALTER TABLE line REPLICA IDENTITY FULL;
INSERT INTO country VALUES (1); INSERT INTO account VALUES (1, 1, 1, NULL, 'a'), (2, 2, 1, NULL, 'b');
INSERT INTO visit VALUES (1, 1, 1), (2, 2, 2); INSERT INTO allowed VALUES (1), (2), (3); INSERT INTO line VALUES (1, 'x');
SQL
# Releases of Citus differ in this one.
$limits->target_sql("CREATE TABLE tried (id int); SELECT create_distributed_table('tried', 'id')");
my $refuses_expressions = exists $limits->target_error('CREATE STATISTICS of_tried ON (id / 2) FROM tried')->{sqlstate};
$limits->target_sql('DROP TABLE tried');
my %wrong = (distributed_tables => [
        { table => 'account', column => 'tenant' }, { table => 'line', column => 'tenant' },
        { table => 'visit', column => 'tenant', colocate_with => 'none' } ]);
my $found = checked($limits, \%wrong, 'error');
for my $line (
    'unique key "account_mail_key" of "public"."account" lacks "tenant", by which Citus places rows',
    'unique key "account_span_excl" of "public"."account" lacks "tenant", by which Citus places rows',
    'Citus refuses exclusion constraint "apart" of "public"."account", which does not compare the distribution column with =',
    'Citus refuses trigger "touches" of "public"."account" unless citus.enable_unsafe_triggers is on',
    'Citus refuses CLUSTER ON index "account_id" of "public"."account"',
    'Citus refuses policy "only_allowed" of "public"."account", which has a subquery',
    'table "public"."line" has REPLICA IDENTITY FULL',
    'foreign key "account_country_fkey" of "public"."account" to "public"."country" leads to rows that Citus keeps elsewhere',
    'foreign key "cleared" of "public"."visit" to "public"."account" leads to rows that Citus keeps elsewhere',
) {
    like($found, qr/^\Q$line/m, "found: $line");
}
my $statistics = qr/^Citus refuses statistics "public"\."by_half" of "public"\."account", which are of expressions/m;
if ($refuses_expressions) { like($found, $statistics, 'found: statistics of expressions') }
else { unlike($found, $statistics, 'this Citus takes statistics of expressions') }
like($found, qr/"reference_tables": \["public\.country"\]/, 'a fix among the options');
like($found, qr/\{"table": "public\.visit", "column": "tenant", "colocate_with": "public\.account"\}/, '... and another');
my $error = $limits->target_error($limits->start_sql(options => \%wrong));
is("$error->{sqlstate} " . $limits->target_sql('SELECT count(*) FROM pg_dist_partition'), '0A000 0', 'nothing is started');

# With both put right, the actions are left; the fixes for the source run as they are.
$wrong{reference_tables} = ['country'];
$wrong{distributed_tables}[2]{colocate_with} = 'account';
$found = checked($limits, \%wrong, 'error');
unlike($found, qr/keeps elsewhere/, 'put right');
like($found, qr/"cleared" .* has the distribution column and ON DELETE SET NULL/, 'found: ON DELETE SET NULL');
like($found, qr/"moved" .* has the distribution column and ON UPDATE CASCADE/, 'found: ON UPDATE CASCADE');
my @at_source = $found =~ /\|-- on the source:\n(ALTER TABLE .*|DROP .*)/g;
is(scalar @at_source, $refuses_expressions ? 5 : 4, 'fixes for the source');
$limits->source_sql(join ' ', (map { s/ADD PRIMARY KEY \(\.\.\.\)/ADD PRIMARY KEY (tenant, at)/r } @at_source),
    'ALTER TABLE line REPLICA IDENTITY DEFAULT; DROP POLICY only_allowed ON account; ALTER TABLE account DROP CONSTRAINT apart,
        DROP CONSTRAINT account_span_excl');

# By hand after stage schema, where Citus's tables are looked at when stage data begins.
$limits->start(pause_after => ['schema']);
$limits->wait_state('paused');
$limits->target_sql("SELECT create_reference_table('country'); SELECT create_distributed_table('account', 'tenant');
    SELECT create_distributed_table('visit', 'tenant'); SELECT create_reference_table('allowed')");
$limits->resume([]);
$limits->wait_state('failed');
my $status = $limits->status_row;
is("$status->{stage} $status->{rows_done}", 'data 0', 'found before anything is copied');
is($status->{hint}, <<'SQL' =~ s/\n\z//r, '... each with what puts it right');
ALTER TABLE "public"."account" ADD CONSTRAINT "account_mail_key" UNIQUE (mail, "tenant");
ALTER DATABASE "limits" SET citus.enable_unsafe_triggers = on;
SELECT livemigrate.migration_resume('limits');
SQL
$limits->target_sql($_) for split /\n/, $status->{hint};
$limits->wait_stage('streaming');
$limits->source_sql("UPDATE account SET mail = 'c' WHERE id = 1; INSERT INTO visit VALUES (1, NULL, 7);
    UPDATE allowed SET tenant = 7 WHERE tenant = 2; DELETE FROM allowed WHERE tenant = 3");
$limits->set_endpos;
$limits->wait_stage('done');
is($limits->target_sql('SELECT relation FROM livemigrate.compare_data() WHERE NOT equal'), '', 'limits: no difference');
is($limits->target_sql("SELECT tgname FROM pg_trigger WHERE tgrelid = 'account'::regclass AND NOT tgisinternal AND tgname !~ 'truncate'"),
    'touches', 'the trigger is there');
is($limits->target_sql('SELECT count(*) FROM pg_statistic_ext'), $limits->source_sql('SELECT count(*) FROM pg_statistic_ext'),
    'statistics of expressions are there where Citus takes them');
$limits->cleanup;

# Tables that are Citus's already.
$limits->source_sql('ALTER TABLE visit REPLICA IDENTITY FULL');
$error = $limits->target_error($limits->start_sql(on_existing => 'truncate'));
like($error->{message}, qr/^table "public"\."visit" has REPLICA IDENTITY FULL/, 'tables that are there: the identity');

# --- an identity without the distribution column: the target's key has it, the source's changes have not
my $wide = $pair->database('wide');
$wide->source_sql(<<'SQL');
CREATE TABLE "By id" (id int PRIMARY KEY, tenant int, v text);
CREATE TABLE by_index (id int NOT NULL, tenant int NOT NULL, v text, PRIMARY KEY (tenant, id));
CREATE UNIQUE INDEX by_index_id ON by_index (id); ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_id;
CREATE TABLE with_tenant (id int, tenant int, PRIMARY KEY (id, tenant));
INSERT INTO "By id" SELECT g, g % 9, 'v' FROM generate_series(1, 90) g; INSERT INTO by_index SELECT id, tenant, v FROM "By id";
SQL
my %wide = (pause_after => ['schema'], options => { distributed_tables => [
    map { { table => $_, column => 'tenant' } } 'By id', 'by_index', 'with_tenant' ] });
my $slow = sub { "the replica identity of \"public\".\"$_[0]\" lacks \"tenant\": each UPDATE and DELETE of a row goes to all shards, which is slow" };
my %fix = (
    'By id' => <<'SQL', by_index => <<'SQL');
CREATE UNIQUE INDEX CONCURRENTLY "By id_identity" ON "public"."By id" ("id", "tenant");
ALTER TABLE "public"."By id" ALTER COLUMN "tenant" SET NOT NULL;
ALTER TABLE "public"."By id" REPLICA IDENTITY USING INDEX "By id_identity";
SQL
CREATE UNIQUE INDEX CONCURRENTLY "by_index_identity" ON "public"."by_index" ("id", "tenant");
ALTER TABLE "public"."by_index" ALTER COLUMN "tenant" SET NOT NULL;
ALTER TABLE "public"."by_index" REPLICA IDENTITY USING INDEX "by_index_identity";
SQL
is(checked($wide, $wide{options}, 'warning') =~ s/(?<=;)\z/\n/r =~ s/^column .*\n//r, join('', map { $slow->($_) . "|-- on the source:\n$fix{$_}" } 'By id', 'by_index'),
    'wide: told of, with the fix');
delete $wide{options};
$wide->start(%wide);
$wide->wait_state('paused');
$wide->target_sql(q{SELECT create_distributed_table(format('%I', t), 'tenant') FROM unnest(ARRAY['By id', 'by_index', 'with_tenant']) t;
    ALTER TABLE "By id" ADD CONSTRAINT "By id_pkey" PRIMARY KEY (id, tenant); CREATE UNIQUE INDEX by_index_id ON by_index (id, tenant)});
$wide->resume([]);
$wide->wait_stage('streaming');
is($wide->target_sql("SELECT message, detail FROM livemigrate.events WHERE severity = 'warning' AND stage = 'data' ORDER BY message"),
    join("\n", map { $slow->($_) . '|' . ("on the source, then start anew: $fix{$_}" =~ s/^/-- /mgr =~ s/\n\z//r) } 'By id', 'by_index'),
    'wide: told of tables that are distributed at the pause');
$wide->source_sql(qq{UPDATE "$_" SET v = 'w' WHERE id % 3 = 0; UPDATE "$_" SET tenant = tenant + 1 WHERE id % 7 = 0; DELETE FROM "$_" WHERE id % 5 = 0;
    UPDATE "$_" SET id = id + 1000 WHERE id % 11 = 0}) for 'By id', 'by_index';
$wide->set_endpos;
$wide->wait_stage('done');
$wide->assert_equal_rows('wide', '"By id"', 'by_index');
$wide->cleanup;
# The fixes run as they are.
for my $statement (map { split /\n/ } @fix{ 'By id', 'by_index' }) { $wide->source_sql($statement) }
$wide->target_sql('DROP TABLE "By id", by_index, with_tenant');
unlike(checked($wide, { distributed_tables => [ { table => 'By id', column => 'tenant' } ] }, '.'), qr/which is slow/, 'wide: with the fix nothing is found');

# --- rows without a key in tables that Citus keeps on the coordinator: by call, at the pause, and, behind the copy, by a
# foreign key to a reference table
for my $plugin (qw(pgoutput wal2json)) {
    my $local = $pair->database("local_$plugin");
    $local->source_sql(<<'SQL');
CREATE TABLE country (id int PRIMARY KEY);
CREATE TABLE bag (v text, country int REFERENCES country, n int GENERATED ALWAYS AS IDENTITY); ALTER TABLE bag REPLICA IDENTITY FULL;
CREATE TABLE "Own bag" (v text, j json, b interval); ALTER TABLE "Own bag" REPLICA IDENTITY FULL;
CREATE TABLE by_part (v text, n int) PARTITION BY LIST (n); CREATE TABLE part_1 PARTITION OF by_part FOR VALUES IN (1);
CREATE TABLE part_2 PARTITION OF by_part FOR VALUES IN (2); ALTER TABLE part_1 REPLICA IDENTITY FULL; ALTER TABLE part_2 REPLICA IDENTITY FULL;
INSERT INTO country SELECT generate_series(1, 5); INSERT INTO bag SELECT 'x' || g % 9, 1 + g % 5 FROM generate_series(1, 100) g;
INSERT INTO "Own bag" SELECT nullif(v, 'x3'), '{"a":  1}', country * interval '30 min' FROM bag; INSERT INTO by_part SELECT v, 1 + country % 2 FROM bag;
SQL
    $local->start(plugin => $plugin, pause_after => ['schema']);
    $local->wait_state('paused');
    $local->target_sql(q{SELECT create_reference_table('country'); SELECT citus_add_local_table_to_metadata('"Own bag"');
        SELECT citus_add_local_table_to_metadata('by_part')});
    $local->resume([]);
    $local->wait_stage('streaming');
    is($local->target_sql('SELECT table_name, citus_table_type FROM citus_tables ORDER BY table_name::text'),
        qq{"Own bag"|local\nbag|local\nby_part|local\ncountry|reference\npart_1|local\npart_2|local}, "$plugin: local tables of Citus's");
    $local->source_sql(<<'SQL');
INSERT INTO bag (v, country) VALUES ('new', 1), ('new', NULL); UPDATE bag SET v = 'y' WHERE country = 2; UPDATE bag SET country = NULL WHERE n % 7 = 0;
UPDATE bag SET n = DEFAULT WHERE n = 5; DELETE FROM bag WHERE n % 11 = 0;
UPDATE "Own bag" SET v = 'y' WHERE ctid IN (SELECT min(ctid) FROM "Own bag" GROUP BY v); UPDATE "Own bag" SET j = NULL WHERE b = '90 min';
DELETE FROM "Own bag" WHERE ctid IN (SELECT max(ctid) FROM "Own bag" GROUP BY v, b); INSERT INTO "Own bag" VALUES (NULL, NULL, NULL), (NULL, NULL, '9 d');
DELETE FROM "Own bag" WHERE ctid = (SELECT min(ctid) FROM "Own bag" WHERE b IS NULL); UPDATE "Own bag" SET v = 'z' WHERE b = '9 d';
UPDATE by_part SET v = 'y' WHERE ctid IN (SELECT min(ctid) FROM by_part GROUP BY v); UPDATE by_part SET n = 3 - n WHERE v = 'x4';
DELETE FROM by_part WHERE (tableoid, ctid) IN (SELECT tableoid, max(ctid) FROM by_part GROUP BY tableoid, v);
SQL
    $local->set_endpos;
    $local->wait_stage('done');
    $local->assert_equal_rows("$plugin, local", '"Own bag"', qw(country bag by_part));
    is($local->target_sql('SELECT relation FROM livemigrate.compare_data() WHERE NOT equal'), '', "$plugin, local: compare_data finds no difference");
    $local->cleanup;
    # Into the same tables again, which are Citus's before the check.
    $local->start(plugin => $plugin, on_existing => 'truncate', include_tables => [ 'public.Own bag', 'public.*part*' ]);
    $local->wait_stage('streaming');
    $local->source_sql(q{TRUNCATE "Own bag"; INSERT INTO "Own bag" VALUES (1), (1), (2); DELETE FROM "Own bag" WHERE v = '2'; UPDATE by_part SET v = 0});
    $local->set_endpos;
    $local->wait_stage('done');
    $local->assert_equal_rows("$plugin, local again", '"Own bag"', 'by_part');
    $local->cleanup;
}

done_testing();
