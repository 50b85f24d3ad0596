# D12-D24: what the output plugins send besides plain rows, and what happens to their side of it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Batch;
use Test::More;

my $pair = LiveMigrate::Batch->new(dbname => 'unused');

my $setup = <<'SQL';
CREATE TABLE d12 (id int PRIMARY KEY, v text);
CREATE TABLE d15 (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED, b text);
CREATE TABLE d15_full (a int, twice int GENERATED ALWAYS AS (a * 2) STORED);
ALTER TABLE d15_full REPLICA IDENTITY FULL;
CREATE TABLE d16 (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text);
CREATE TABLE d18 (id int PRIMARY KEY, v int); INSERT INTO d18 SELECT g, g FROM generate_series(1, 5) g;
CREATE MATERIALIZED VIEW d18_view AS SELECT id, v FROM d18; CREATE UNIQUE INDEX ON d18_view (id);
CREATE SCHEMA "D 19"; CREATE TABLE "D 19"."a, b" (id int PRIMARY KEY, v text);
CREATE TABLE "D 19"."a*" (id int PRIMARY KEY, v text);
CREATE TABLE "D 19"."a.b" (id int PRIMARY KEY, v text);
CREATE TABLE "D 19"."a""b'\" (id int PRIMARY KEY, " x" text);
CREATE TABLE "D 19".left_out (id int PRIMARY KEY, v text);
CREATE TABLE d23 (id int PRIMARY KEY, n int); INSERT INTO d23 VALUES (1, 0);
INSERT INTO d15 (id, a) SELECT g, g FROM generate_series(1, 10) g;
INSERT INTO d15_full (a) SELECT g / 2 FROM generate_series(1, 10) g;
INSERT INTO d16 (v) SELECT 'v' FROM generate_series(1, 10);
SQL

my @batches = (
    'D15 generated columns' => <<'SQL',
UPDATE d15 SET a = a + 1; UPDATE d15 SET b = 'x' WHERE id < 4; UPDATE d15 SET a = NULL WHERE id = 2;
INSERT INTO d15 (id, a) VALUES (20, 20); UPDATE d15 SET id = 30, b = 'y' WHERE id = 20;
DELETE FROM d15 WHERE id = 5; INSERT INTO d15 VALUES (5, 55, DEFAULT, 'z');
UPDATE d15_full SET a = a + 1; INSERT INTO d15_full VALUES (1), (1), (NULL);
DELETE FROM d15_full WHERE ctid = (SELECT min(ctid) FROM d15_full WHERE a = 1);
SQL
    'D16 GENERATED ALWAYS identities' => <<'SQL',
INSERT INTO d16 (v) VALUES ('new'); INSERT INTO d16 OVERRIDING SYSTEM VALUE VALUES (500, 'given');
UPDATE d16 SET v = 'w' WHERE id < 5; UPDATE d16 SET id = DEFAULT WHERE id = 7;
DELETE FROM d16 WHERE id = 8; INSERT INTO d16 OVERRIDING SYSTEM VALUE VALUES (8, 'again');
SQL
    'D18 a materialized view is refreshed concurrently' => <<'SQL',
UPDATE d18 SET v = v + 1; REFRESH MATERIALIZED VIEW CONCURRENTLY d18_view; DELETE FROM d18 WHERE id = 1;
REFRESH MATERIALIZED VIEW CONCURRENTLY d18_view; REFRESH MATERIALIZED VIEW d18_view;
SQL
    'D19 names with separators, quotes and patterns' => <<'SQL',
INSERT INTO "D 19"."a, b" VALUES (1, 'x'), (2, 'y'); INSERT INTO "D 19"."a*" VALUES (1, 'x');
INSERT INTO "D 19"."a.b" VALUES (1, 'x'); INSERT INTO "D 19"."a""b'\" VALUES (1, 'x'), (3, 'z');
INSERT INTO "D 19".left_out VALUES (1, 'x'); UPDATE "D 19"."a, b" SET v = 'z' WHERE id = 1;
UPDATE "D 19"."a""b'\" SET " x" = NULL WHERE id = 1; DELETE FROM "D 19"."a""b'\" WHERE id = 3;
SQL
    'D12 a transaction of 80 MB' => <<'SQL',
BEGIN; INSERT INTO d12 SELECT g, repeat(md5(g::text), 1000) FROM generate_series(1, 2400) g;
UPDATE d12 SET id = -id WHERE id % 100 = 0; DELETE FROM d12 WHERE id % 7 = 0; COMMIT;
SQL
);

for my $plugin (qw(pgoutput wal2json)) {
    my $one = $pair->database("decoding_$plugin");
    $one->create_gate;
    $one->source_sql($setup);
    $one->start(plugin => $plugin, exclude_table_data => ['D 19.left_out']);
    $one->wait_stage('streaming');
    for (my $i = 0; $i < @batches; $i += 2) {
        $one->in_one_batch($batches[ $i + 1 ]);
        $one->assert_equal_tables("$batches[$i] ($plugin)",
            rows_only => 1, skip => qr/left_out|d18_view/);
    }
    is($one->target_sql('SELECT count(*) FROM "D 19".left_out'),
        '0', "D19 $plugin: exactly the table that is left out is left out");

    # D23: transactions that end where the next one begins, on both sides of restarts.
    for my $round (1 .. 3) {
        my $lock = $one->lock_table($one->target, 'd23');
        $one->source_sql('UPDATE d23 SET n = n + 1;' x 10);
        $one->wait_blocked($one->target);
        $one->kill_worker($round == 2 ? 'receiver' : 'apply', 'TERM');
        $one->end_session($lock);
        $one->source_sql('UPDATE d23 SET n = n + 1;' x 10);
        $one->source_sql('SELECT pg_terminate_backend(pid) FROM pg_stat_replication') if $round == 3;
    }
    ok($one->poll(sub { $one->target_sql('SELECT n FROM d23') eq '60' }),
        "D23 $plugin: each of them once")
      or $one->diagnose('D23');
    $one->finish("D $plugin", skip => qr/left_out/);
}

# D24: the publication is dropped, or does not send everything for a while, while changes stream.
# A coordinator looks when it begins, and at the cutover.
sub fails_with {
    my ($one, $error, $label) = @_;
    $one->wait_state('failed');
    my $status = $one->status_row;
    like($status->{message}, $error, "$label: the error");
    like($status->{hint}, qr/compare_data/, "$label: what to do about the rows");
    return $status->{hint};
}

# Starts a migration of the table t, and of a table that is not published.
sub publishing {
    my ($name) = @_;
    my $one = $pair->database($name);
    $one->source_sql('CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE left_out (id int PRIMARY KEY)');
    $one->start(plugin => 'pgoutput', exclude_table_data => ['public.left_out']);
    $one->wait_stage('streaming');
    return $one;
}

# The source looks for it as of each change, of whatever table: before version 18 it cannot go on from
# one that comes while there is none, also when there is one again.
my $gone = publishing('gone');
my $missing = qr/publication "livemigrate_gone" (?:does not exist|is gone from the source)/;
$gone->source_sql('DROP PUBLICATION livemigrate_gone; INSERT INTO left_out VALUES (1)');
$gone->wait_state('failed');
like($gone->status_row->{last_error}, $missing, 'D24 the error names the publication');
like($gone->status_row->{hint}, qr/start over: SELECT livemigrate\.migration_abort\(/i, 'D24 and says what helps in any case');
$gone->source_sql('CREATE PUBLICATION livemigrate_gone FOR TABLE ONLY t; INSERT INTO t VALUES (1)');
for (1 .. 4) {
    $gone->resume;
    $gone->wait_state('failed');
    last if $_ > 2 && $gone->status_row->{last_error} =~ $missing;
}
like($gone->status_row->{last_error}, $missing, 'D24 making it again does not');
like($gone->status_row->{hint}, qr/If no table of the database was written to in between.* else start over: SELECT/,
    'D24 nor does the hint say so');
is($gone->target_sql('SELECT count(*) FROM t'), '0', 'D24 nothing is left out');
$gone->abort;
$gone->cleanup;

# Where nothing was written in between, it does.
my $again = publishing('again');
$again->source_sql('INSERT INTO left_out VALUES (1)');
my $written = $again->source_sql('SELECT pg_current_wal_lsn()');
ok($again->poll(sub { $again->source_sql("SELECT confirmed_flush_lsn >= '$written' FROM pg_replication_slots
        WHERE slot_name = 'livemigrate_again'") eq 't' }), 'D24 what was written is not sent again');
$again->source_sql('DROP PUBLICATION livemigrate_again');
my $walsenders = q{SELECT coalesce(string_agg(pid::text, ' '), '') FROM pg_stat_replication};
my $ended      = $again->source_sql($walsenders);
$again->source_sql('SELECT pg_terminate_backend(pid) FROM pg_stat_replication');
ok($again->poll(sub { $again->source_sql($walsenders) =~ /^(?!$ended$)\d+$/ }),
    'D24 without a publication, and without a change');
$again->source_sql('CREATE PUBLICATION livemigrate_again FOR TABLE ONLY t');
$again->source_sql('INSERT INTO t VALUES (1); INSERT INTO left_out VALUES (2)');
ok($again->poll(sub { $again->target_sql('SELECT count(*) FROM t') eq '1' || $again->status_row->{state} eq 'failed' }),
    'D24 changes come, or it is noticed');
$again->set_endpos;
fails_with($again, qr/were changed on the source: .*publication livemigrate_again/, 'D24 made again in time');
$again->resume;
$again->wait_stage('done');
is($again->target_sql('SELECT count(*) FROM t'), '1', 'D24 and then all changes are there');
$again->cleanup;

my $altered = $pair->database('altered');
$altered->source_sql('CREATE TABLE kept (id int PRIMARY KEY); CREATE TABLE "Ta""ble" (id int PRIMARY KEY);
    CREATE TABLE no_key (id int)');
$altered->start(plugin => 'pgoutput', options => { insert_only_tables => ['public.no_key'] });
$altered->wait_stage('streaming');
my $publication = 'livemigrate_altered';
$altered->source_sql(qq{ALTER PUBLICATION $publication DROP TABLE "Ta""ble";
    INSERT INTO kept VALUES (1); INSERT INTO "Ta""ble" VALUES (1)});
$altered->set_endpos;
my $hint = fails_with($altered, qr/no longer published on the source: "public"\."Ta""ble"/, 'D24 a table is taken out');
my ($fix) = $hint =~ /Run on the source: (ALTER PUBLICATION .*?;) then run/;
$altered->source_sql($fix);
$altered->resume([]);
fails_with($altered, qr/changed on the source: table public\."Ta""ble"/, 'D24 and put in again');
is($altered->target_sql("SELECT message FROM livemigrate.events WHERE message ~ 'published anew'"),
    'table public."Ta""ble" was published anew on the source', 'D24 the events keep it');
$altered->target_sql('INSERT INTO "Ta""ble" VALUES (1)');
$altered->resume([]);
$altered->wait_stage('done');
$altered->assert_equal_tables('D24 resumed');
$altered->cleanup;

my $reduced = $pair->database('reduced');
$reduced->source_sql('CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)');
$reduced->start(plugin => 'pgoutput');
$reduced->wait_stage('streaming');
$reduced->source_sql('ALTER PUBLICATION livemigrate_reduced SET TABLE t WHERE (id < 5)');
$reduced->pause;
$reduced->wait_state('paused');
$reduced->resume;
fails_with($reduced, qr/"?livemigrate_reduced"? no longer sends every change/, 'D24 a row filter');
$reduced->source_sql(q{ALTER PUBLICATION livemigrate_reduced SET TABLE t;
    ALTER PUBLICATION livemigrate_reduced SET (publish = 'insert')});
$reduced->resume;
$hint = fails_with($reduced, qr/no longer sends every change/, 'D24 only inserts');
($fix) = $hint =~ /Run on the source: (ALTER PUBLICATION .*?;)/;
$reduced->source_sql($fix);
$reduced->resume;
fails_with($reduced, qr/were changed on the source: .*publication livemigrate_reduced/, 'D24 all again');
$reduced->resume;
$reduced->finish('D24 as it was');

done_testing();
