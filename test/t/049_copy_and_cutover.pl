# What can happen to a table between the snapshot and the end: C01 to C03 it is rewritten on the
# source, C04 the snapshot's session ends, C14 its COPY fails half-way, C23 its index cannot be built;
# and E07 writes behind the endpos, E11 a cutover that is interrupted.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my ($source, $target) = ($pair->source, $pair->target);

# Keeps REFRESH waiting: LOCK TABLE does not take a materialized view.
my $hold_view = "BEGIN; COMMENT ON MATERIALIZED VIEW summary IS 'held'";

sub paused_after {
    my ($one, $stage) = @_;
    $one->wait_stage($stage);
    $one->wait_state('paused');
}

# --- C01, C02, C03: to the snapshot a rewritten table looks empty, so it cannot be rewritten
$pair->source_sql(<<'SQL');
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t SELECT g, g FROM generate_series(1, 5000) g;
CREATE TABLE parts (id int PRIMARY KEY, filler text);
INSERT INTO parts SELECT g, repeat(md5(g::text), 8) FROM generate_series(1, 20000) g;
SQL
$pair->start(pause_after => ['slot'], split_tables_larger_than => '1 MB');
paused_after($pair, 'slot');
for my $case (
    [ 'C01 ALTER TYPE',  'ALTER TABLE t ALTER v TYPE bigint' ],
    [ 'C02 TRUNCATE',    'TRUNCATE t' ],
    [ 'C03 VACUUM FULL', 'VACUUM FULL parts' ],
    [ 'C03 CLUSTER',     'CLUSTER parts USING parts_pkey' ]
) {
    my ($label, $sql) = @$case;
    my ($rc, $out, $err) = $source->psql('app', "SET lock_timeout = 200;\n$sql;");
    like($err, qr/lock timeout/, "$label waits until the table is copied");
}
$pair->resume(['data']);
paused_after($pair, 'data');
cmp_ok(
    $pair->target_sql("SELECT parts FROM livemigrate.table_progress WHERE table_name = 'parts'"),
    '>', 1, 'C03 the table was copied in parts');
is($pair->target_sql('SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM parts)'),
    '5000|20000', 'C03 every row is there');

# Behind the copy all of it is possible again, and arrives.
$pair->source_sql('TRUNCATE t; INSERT INTO t VALUES (1, 1)');
$source->safe_psql('app', 'VACUUM FULL parts');
$pair->source_sql('UPDATE parts SET filler = NULL WHERE id % 1000 = 0');

# --- C23: an index that cannot be built names its statement and the key, and is built after mending
$pair->target_sql('INSERT INTO t SELECT 77, 0 WHERE (SELECT count(*) FROM t WHERE id = 77) = 1');
$pair->resume([]);
$pair->wait_state('failed');
my $row = $pair->status_row;
is($row->{stage}, 'indexes', 'C23 it stops in the stage');
my $told = join ' ', map { $_ // '' } $row->{message}, $row->{last_error},
    $pair->target_sql("SELECT last_error_detail FROM livemigrate.migrations WHERE migration = 'main'"),
    $pair->target_sql("SELECT string_agg(detail, ' ') FROM livemigrate.events WHERE severity = 'error'");
like($told, qr/\(id\)=\(77\)/,                 'C23 with the offending key');
like($told, qr/CREATE UNIQUE INDEX "t_pkey"/, 'C23 with the statement');
like(
    $pair->target_sql("SELECT error FROM livemigrate.index_progress WHERE table_name = 't'
        AND error IS NOT NULL"),
    qr/t_pkey|unique/, 'C23 in index_progress');
$pair->target_sql('DELETE FROM t WHERE id = 77 AND v = 0');
$pair->resume;
$pair->wait_stage('streaming');
is($pair->target_sql("SELECT count(*) FROM livemigrate.index_progress WHERE state <> 'done'"),
    '0', 'C23 built after that');

# --- E07: somebody still writes when the endpos is set; nothing behind it is applied, partly or whole
$pair->source_sql('INSERT INTO t VALUES (2, 2)');
$pair->set_endpos;
$pair->source_sql('INSERT INTO t VALUES (3, 3)');
$pair->wait_stage('done');
is($pair->target_sql('SELECT string_agg(id::text, $$,$$ ORDER BY id) FROM t'),
    '1,2', 'E07 what was committed before is there, the rest is not');
is($pair->target_sql("SELECT relation FROM livemigrate.compare_data() WHERE NOT equal"),
    'public.t', 'E07 compare_data says so');
$pair->cleanup;

# --- C04: the session that holds the snapshot ends while tables are being copied
my $snapshot = $pair->database('snapshot');
$snapshot->create_ledger;
$snapshot->start(pause_after => ['schema']);
paused_after($snapshot, 'schema');
my $lock = $snapshot->lock_table($target, 'ledger.bulk');
$snapshot->resume([]);
$snapshot->wait_blocked($target);
$snapshot->work(10);
$snapshot->source_sql(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'snapshot'
        AND application_name = 'livemigrate' AND backend_xmin IS NOT NULL");
$snapshot->end_session($lock);
$snapshot->wait_stage('streaming');
$snapshot->assert_ledger('target', 'C04 the ledger holds');
is($snapshot->target_sql('SELECT count(*) FROM ledger.bulk'), '50000', 'C04 no row twice');
$snapshot->finish('C04');

# --- C14: COPY fails half-way, of a whole table and of a part
my $half = $pair->database('half');
$half->source_sql(<<'SQL');
CREATE TABLE whole (id int PRIMARY KEY);
INSERT INTO whole SELECT generate_series(1, 20000);
CREATE TABLE parts (id int PRIMARY KEY, filler text);
INSERT INTO parts SELECT g, repeat(md5(g::text), 8) FROM generate_series(1, 20000) g;
CREATE MATERIALIZED VIEW summary AS SELECT count(*) FROM parts;
SQL
$half->start(pause_after => ['schema'], split_tables_larger_than => '1 MB');
paused_after($half, 'schema');
for my $table (qw(whole parts)) {
    $half->target_sql("ALTER TABLE $table ADD CONSTRAINT no_$table CHECK (id <> 15000)");
}
for my $attempt (1, 2) {
    $half->resume(['data']);
    $half->wait_state('failed');
    my ($table) = $half->status_row->{message} =~ /"no_(whole|parts)"/;
    ok($table, 'C14 the message names the constraint') or last;
    $half->target_sql("ALTER TABLE $table DROP CONSTRAINT no_$table");
}
$half->resume(['data']);
paused_after($half, 'data');
is($half->target_sql('SELECT (SELECT count(*) FROM whole), (SELECT count(*) FROM parts)'),
    '20000|20000', 'C14 every row once');

# --- E11: cutover is interrupted while it refreshes a materialized view
$half->resume([]);
$half->wait_stage('streaming');
$half->source_sql('DELETE FROM parts WHERE id > 100; REFRESH MATERIALIZED VIEW summary');
$lock = $half->session($target, $hold_view);
$half->set_endpos;
$half->wait_blocked($target);
is($half->status_row->{stage}, 'cutover', 'E11 in cutover');
$half->kill_worker('coordinator', 'TERM');
$half->end_session($lock);
$half->wait_stage('done');
is($half->target_sql('SELECT * FROM summary'), '100', 'E11 the view is refreshed');
$half->assert_equal_tables('E11 equal tables');
$half->cleanup;

# A pause in cutover keeps it there; an abort from there leaves nothing.
my $stuck = $pair->database('stuck');
$stuck->source_sql('CREATE TABLE t (id int PRIMARY KEY);
    CREATE MATERIALIZED VIEW summary AS SELECT count(*) FROM t');
$stuck->start;
$stuck->wait_stage('streaming');
$lock = $stuck->session($target, $hold_view);
$stuck->set_endpos;
$stuck->wait_blocked($target);
$stuck->abort;
$stuck->end_session($lock);
is($stuck->status_row->{state}, 'aborted', 'E11 abort in cutover');
$stuck->assert_nothing_left('E11 nothing left');

done_testing();
