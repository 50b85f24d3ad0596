# Several apply workers under the operator's hand: conflicts and skipping, endpos in the middle and
# set again, pauses, a comparison while streaming, an index and a trigger made on the target
# meanwhile, a target without preload, abort.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair   = LiveMigrate::Test->new(preload => 0);
my ($source, $target) = ($pair->source, $pair->target);
my $schema = <<'SQL';
CREATE TABLE t (id int PRIMARY KEY, v text);
CREATE TABLE n (id int PRIMARY KEY, u int);
CREATE TABLE gate (id int PRIMARY KEY, v int);
INSERT INTO t SELECT g, 'copied' FROM generate_series(1, 100) g;
INSERT INTO gate VALUES (1, 0);
SQL

sub streaming {
    my ($name, %opt) = @_;
    my $one = $pair->database($name);
    $one->source_sql($schema);
    $one->start(options => { apply_jobs => 3 }, %opt);
    $one->wait_stage($opt{pause_after} ? $opt{pause_after}[0] : 'streaming');
    return $one;
}

sub arrives {
    my ($one, $sql, $expected, $label) = @_;
    ok($one->poll(sub { $one->target_sql($sql) eq $expected }), $label) or
        do { diag 'got ' . $one->target_sql($sql); $one->diagnose($label) };
}

# One worker's conflict stops all.  What the others have applied of its transaction stays, the rest
# is skipped; or, with the cause removed, nothing is lost.
my $one = streaming('conflict');
$one->target_sql("INSERT INTO t SELECT g, 'written on the target' FROM generate_series(201, 230) g");
$one->source_sql("INSERT INTO t VALUES (301, 'before')");
arrives($one, 'SELECT v FROM t WHERE id = 301', 'before', 'three workers apply changes');
$one->source_sql(
    "BEGIN; INSERT INTO t SELECT g, 'lost' FROM generate_series(201, 203) g; UPDATE t SET v = 'new'
        WHERE id = 1; COMMIT");
$one->source_sql("INSERT INTO t SELECT g, 'behind' FROM generate_series(401, 420) g");
$one->wait_state('failed');
is($one->target_sql("SELECT count(*) FROM t WHERE v = 'lost'"), '0', 'nothing of a conflict is applied');
is($one->target_sql('SELECT count(*) FROM livemigrate.conflicts'), '1', 'one worker tells of it');
$one->target_sql('DELETE FROM t WHERE id BETWEEN 201 AND 230');
$one->resume;
arrives($one, "SELECT count(*) FROM t WHERE v IN ('lost', 'new', 'behind')",
    '24', 'with the cause removed everything is applied');

$one->target_sql("INSERT INTO t VALUES (500, 'written on the target')");
$one->source_sql("INSERT INTO t VALUES (500, 'lost')");
$one->source_sql('UPDATE t SET id = id + 1000 WHERE id BETWEEN 1 AND 20');
$one->wait_state('failed');
my $lsn = $one->target_sql(
    'SELECT end_lsn FROM livemigrate.conflicts ORDER BY at DESC LIMIT 1');
$one->target_sql("SELECT livemigrate.skip_transaction('$lsn')");
$one->resume;
arrives($one, 'SELECT count(*) FROM t WHERE id BETWEEN 1001 AND 1020',
    '20', 'behind a skipped transaction it goes on, through a barrier');
is($one->target_sql('SELECT changes FROM livemigrate.skipped_transaction'), '1', 'one change is skipped');
$one->target_sql("UPDATE t SET v = 'lost' WHERE id = 500");

# A conflict in a barrier, which the first worker applies alone.
$one->target_sql("INSERT INTO t VALUES (2001, 'written on the target')");
$one->source_sql('UPDATE t SET id = id + 1000 WHERE id BETWEEN 1001 AND 1020');
$one->source_sql("INSERT INTO n SELECT g, g FROM generate_series(1, 50) g");
$one->wait_state('failed');
is($one->target_sql('SELECT count(*) FROM t WHERE id BETWEEN 1001 AND 1020'),
    '20', 'a barrier that fails is rolled back whole');
is($one->target_sql('SELECT count(*) FROM n'), '0', 'nobody goes on behind it');
$one->target_sql('DELETE FROM t WHERE id = 2001');
$one->resume;
arrives($one, 'SELECT count(*) FROM n', '50', 'then all go on');
is($one->target_sql('SELECT count(*) FROM t WHERE id BETWEEN 2001 AND 2020'), '20', 'behind it');

# A comparison while changes stream: all stand at one position.
is( $one->target_sql("SELECT count(*) FROM livemigrate.compare_data() WHERE equal"),
    '3', 'compare_data while streaming');

# Pause, changes, and a unique index that only the target has: the table goes to one worker, after
# all have come to the same position.
$one->pause;
$one->wait_state('paused');
$one->source_sql("INSERT INTO n SELECT g, g FROM generate_series(101, 200) g");
$one->target_sql('CREATE UNIQUE INDEX n_u ON n (u)');
$one->resume;
arrives($one, 'SELECT count(*) FROM n', '150', 'after a pause');
is( $one->target_sql(
        "SELECT dealing FROM livemigrate.table_copy WHERE table_name = 'n'"),
    'table', 'a unique index on the target: the table is dealt anew');
for my $round (1 .. 20) {
    $one->source_sql('BEGIN; DELETE FROM n WHERE id = ' . (100 + $round)
            . '; INSERT INTO n VALUES (' . (300 + $round) . ', ' . (100 + $round) . '); COMMIT');
}
arrives($one, 'SELECT count(*) FROM n WHERE id > 300', '20', 'rows pass its values on');

# A trigger that fires in replica role sees what the source saw: all to one worker.
$one->pause;
$one->wait_state('paused');
$one->target_sql(<<'SQL');
CREATE TABLE seen (n_rows bigint);
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN INSERT INTO public.seen SELECT count(*) FROM public.n WHERE u >= 5000; RETURN NULL; END$$;
CREATE TRIGGER look AFTER UPDATE ON gate FOR EACH ROW EXECUTE FUNCTION look();
ALTER TABLE gate ENABLE ALWAYS TRIGGER look;
SQL
$one->resume;
for my $round (1 .. 10) {
    $one->source_sql("INSERT INTO n VALUES (5000 + $round, 5000 + $round); UPDATE gate SET v = $round");
}
arrives($one, 'SELECT string_agg(n_rows::text, $$,$$ ORDER BY n_rows) FROM seen',
    '1,2,3,4,5,6,7,8,9,10', 'a trigger that fires sees the changes before its own');
is( $one->target_sql("SELECT string_agg(DISTINCT dealing, ',') FROM livemigrate.table_copy"),
    'first', 'since all are dealt to one worker');

# endpos before what is committed; in the future, set again, and reached.
my $future = $one->source_sql('SELECT pg_current_wal_insert_lsn() + 2000000');
$one->set_endpos($future);
$one->source_sql("INSERT INTO t VALUES (600, 'before endpos')");
arrives($one, 'SELECT v FROM t WHERE id = 600', 'before endpos', 'endpos in the future');
$one->assert_error(
    "SELECT livemigrate.set_endpos('0/1', 'conflict')",
    'endpos before what any worker has applied is an error',
    message => qr/lies before what is applied/);
$one->target_sql('DROP INDEX n_u; DROP TRIGGER look ON gate; DROP TABLE seen; DROP FUNCTION look');
$one->finish('after all of this');

# A backlog, endpos in its middle, and a restart of a server that does not preload the library: every
# worker goes on where its own origin says.
my $two = streaming('middle', pause_after => ['indexes']);
$two->wait_state('paused');
$two->source_sql("INSERT INTO t SELECT g, 'one' FROM generate_series(1000, 3000) g");
$two->source_sql('UPDATE t SET id = -id WHERE id BETWEEN 1000 AND 1100');
my $endpos = $two->source_sql('SELECT pg_current_wal_insert_lsn()');
$two->source_sql('TRUNCATE t');
$two->source_sql("INSERT INTO t VALUES (1, 'beyond')");
$two->set_endpos($endpos);
my $lock = $two->lock_table($target, 't', 'SHARE');
$two->resume;
$two->wait_blocked($target);
$two->assert_answers_barrier('apply workers wait for one that waits for a lock');
$target->stop('immediate');
$two->end_session($lock);
$target->start;
$two->resume;
$two->wait_stage('done');
is( $two->target_sql("SELECT count(*), sum(id) FROM t"),
    (100 + 2001) . '|' . (5050 + 1900 * (1101 + 3000) / 2 - 101 * 1050),
    'endpos in the middle: all before it, a truncation behind it left out');
is($two->target_sql("SELECT applied_lsn <= '$endpos' FROM livemigrate.migration_status('middle')"),
    't', 'and no worker beyond it');
$two->cleanup;

# Abort drops all origins.
my $three = streaming('abort');
$three->abort;
is($three->target_sql('SELECT count(*) FROM pg_replication_origin'), '0', 'abort leaves no origin');
$pair->assert_nothing_left('nothing left of any of them');

done_testing();
