# D22: transactions that the source sends in chunks before they end. Only what was committed arrives,
# once, whatever is interrupted and however many chunks of others stand between.
# Takes long.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Streamed qw(half_rolled_back);
use LiveMigrate::Test;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $pair = LiveMigrate::Test->new(
    source_conf => "logical_decoding_work_mem = 64kB\nmax_prepared_transactions = 5\n",
    target_conf => "livemigrate.stream_in_progress = on\n");
my ($source, $target) = ($pair->source, $pair->target);

my $schema = <<'SQL';
CREATE TABLE a (id int PRIMARY KEY, v text);
CREATE TABLE b (id int PRIMARY KEY, v text, n int DEFAULT 0);
CREATE TABLE c (id int PRIMARY KEY, v text);
CREATE TABLE small (id serial PRIMARY KEY, v text);
SQL

plan skip_all => 'the source does not stream transactions in progress'
  if $pair->source_sql('SHOW server_version_num') < 140000;

sub rows {
    my ($table, $first, $last) = @_;
    return
      "INSERT INTO $table (id, v) SELECT g, md5(g::text) FROM generate_series($first, $last) g;";
}

# Waits until the receiver has all that the source has written; nothing of it need be committed. The
# target may be starting again meanwhile.
sub received {
    my ($one) = @_;
    $one->source_sql("INSERT INTO small (v) VALUES ('seen')");
    my $id = $one->source_sql('SELECT max(id) FROM small');
    ok($one->poll(
            sub {
                my $seen = eval { $one->target_sql("SELECT count(*) FROM small WHERE id = $id") };
                return ($seen // 0) == 1;
            }),
        'what commits meanwhile arrives')
      or $one->diagnose('received');
}

sub streamed {
    my ($one, $label) = @_;
    my $slot = $one->source_sql(
        'SELECT slot_name FROM pg_replication_slots WHERE database = current_database()');
    ok($one->poll(
            sub {
                $one->source_sql(
                    "SELECT stream_txns > 0 FROM pg_stat_replication_slots WHERE slot_name = '$slot'"
                ) eq 't';
            }),
        "D22 $label: transactions were streamed")
      or $one->diagnose('streamed');
}

# Interleaved transactions, some rolled back in part or whole, one after a change of its table.
sub interleave {
    my ($one, $from) = @_;
    my ($first, $second, $third) = map { $one->session($source, 'BEGIN') } 1 .. 3;
    for my $round (0 .. 4) {
        my $base = $from + $round * 4000;
        $first->query_safe(rows('a', $base, $base + 999));
        $second->query_safe('SAVEPOINT s;' . rows('b', $base, $base + 999));
        $second->query_safe('ROLLBACK TO s') if $round % 2;
        $third->query_safe(rows('c', $base + 1000, $base + 1999));
        $one->source_sql("INSERT INTO small (v) VALUES ('$round')");
        $second->query_safe(rows('b', $base + 1000, $base + 1999));
    }
    received($one);
    $first->query_safe(
        "UPDATE a SET id = id + 1000000 WHERE id >= $from AND id % 7 = 0; DELETE FROM a WHERE id % 5 = 0"
    );
    $second->query_safe("UPDATE b SET v = v || 'x' WHERE id % 3 = 0; COMMIT");
    $third->query_safe('ROLLBACK');
    $one->source_sql("UPDATE c SET v = 'x' WHERE id = 1");
    $first->query_safe('COMMIT');
    $one->end_session($_) for $first, $second, $third;
}

for my $jobs (1, 3) {
    my $one = $pair->database("interleaved_$jobs");
    $one->source_sql($schema . rows('c', 1, 10));
    $one->start($jobs > 1 ? (options => { apply_jobs => $jobs }) : ());
    $one->wait_stage('streaming');
    interleave($one, 1);
    streamed($one, "apply_jobs $jobs");

    # A description that comes inside a stream, and is rolled back with its subtransaction.
    $one->source_sql('BEGIN;' . rows('b', 100_001, 103_000)
          . 'SAVEPOINT s; ALTER TABLE b ALTER n TYPE bigint;' . rows('b', 103_001, 106_000)
          . 'ROLLBACK TO s;' . rows('b', 106_001, 109_000) . 'COMMIT');
    $one->source_sql(rows('b', 110_000, 110_000));

    # Of every row behind a savepoint of its own, a half is rolled back.
    $one->source_sql(half_rolled_back(200_001, 204_000));
    # TRUNCATE, and what is inserted behind it; for several workers a barrier.
    $one->source_sql('BEGIN;' . rows('c', 1001, 4000) . 'TRUNCATE c, b;' . rows('c', 1, 3000)
          . 'COMMIT');

    # One that was prepared comes when it is committed.
    $one->source_sql('BEGIN;' . rows('b', 1, 3000) . "PREPARE TRANSACTION 'p$jobs'");
    received($one);
    $one->source_sql("COMMIT PREPARED 'p$jobs'");
    interleave($one, 300_001);
    $one->finish("D22 interleaved, apply_jobs $jobs");
}

# Lost connections and crashes while streams are open: they come again from their beginning.
my %disturb = (
    'the walsender is ended' => sub {
        $_[0]->source_sql('SELECT pg_terminate_backend(pid) FROM pg_stat_replication');
    },
    'kill -9 of the receiver'     => sub { $_[0]->kill_worker('receiver') },
    'kill -9 of the apply worker' => sub { $_[0]->kill_worker('apply') },
    'kill -9 of the target'       => sub {
        $_[0]->crash_and_start($target);
        $_[0]->wait_for_connections($target);
    });
for my $jobs (1, 3) {
    my $one = $pair->database("lost_$jobs");
    $one->source_sql($schema);
    $one->start($jobs > 1 ? (options => { apply_jobs => $jobs }) : ());
    $one->wait_stage('streaming');
    my $from = 0;
    for my $label (sort keys %disturb) {
        my @open = map { $one->session($source, 'BEGIN') } 1 .. 3;
        my $halves = sub {
            my ($half) = @_;
            for my $i (0 .. 2) {
                my $base = $from + $half * 5_000;
                $open[$i]->query_safe(rows((qw(a b c))[$i], $base + 1, $base + 5_000));
            }
        };
        $halves->(0);
        received($one);
        $disturb{$label}->($one);
        $halves->(1);
        received($one);
        $open[0]->query_safe('COMMIT');
        $disturb{$label}->($one);
        $open[1]->query_safe('ROLLBACK');
        $open[2]->query_safe('COMMIT');
        $disturb{$label}->($one);
        received($one);
        $one->end_session($_) for @open;
        $from += 40_000;
    }
    # Without the source its transactions are gone.
    my $open = $one->session($source, 'BEGIN;' . rows('b', 1, 20_000));
    received($one);
    $source->stop('immediate');
    $source->start;
    $one->end_session($open);
    received($one);
    is($one->target_sql('SELECT count(*) FROM b'), '0', 'R06 nothing of what was never committed');
    $one->finish("D22 X09 interrupted, apply_jobs $jobs");
}

# Endpos while a streamed transaction is open: what commits behind it is left out whole.
my $endpos = $pair->database('endpos');
$endpos->source_sql($schema);
$endpos->start;
$endpos->wait_stage('streaming');
my $early = $endpos->session($source, 'BEGIN;' . rows('a', 1, 20_000));
my $late  = $endpos->session($source, 'BEGIN;' . rows('b', 1, 20_000));
received($endpos);
$early->query_safe('COMMIT');
$endpos->set_endpos;
$endpos->wait_stage('done');
is($endpos->target_sql('SELECT count(*) FROM a'), '20000', 'X12 committed before endpos');
is($endpos->target_sql('SELECT count(*) FROM b'), '0',     'X12 open at endpos');
$late->query_safe('ROLLBACK');
$endpos->end_session($_) for $early, $late;
$endpos->assert_equal_tables('X12 equal at endpos');
$endpos->cleanup;

# Begun on the target before it commits on the source, and given up for what comes first.
my $early_one = $pair->database('ahead');
$early_one->source_sql($schema . rows('c', 1, 10));
$early_one->start;
$early_one->wait_stage('streaming');
my $is_open = sub {
    $early_one->target_sql('SELECT count(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL'
          . ' AND pid = ' . $early_one->worker_pid('apply')) eq ($_[0] // '1');
};
my $written = sub { $early_one->target_sql("SELECT pg_relation_size('$_[0]') > 0") eq 't' };
my %ahead   = (
    'commits' => ['COMMIT' => 45_000],
    'rolls back' => ['ROLLBACK' => 0],
    'rolls back to a savepoint' => ['ROLLBACK TO s; COMMIT' => 0],
);
for my $label (sort keys %ahead) {
    my ($end, $expected) = $ahead{$label}->@*;
    my $session = $early_one->session($source, 'BEGIN; SAVEPOINT s;' . rows('a', 1, 45_000));
    ok($early_one->poll($is_open), "D22 begun before it $label") or $early_one->diagnose('ahead');
    is($early_one->target_sql('SELECT count(*) FROM a'), '0', 'D22 and not to be seen');
    $session->query_safe($end);
    received($early_one);
    $early_one->end_session($session);
    is($early_one->target_sql('SELECT count(*) FROM a'), $expected, "D22 one that $label");
    $early_one->source_sql('TRUNCATE a');
    received($early_one);
}

# In the way of neither another transaction, a lock, nor its own conflict that goes away.
my $waiting = $early_one->session($source, 'BEGIN; TRUNCATE c;' . rows('a', 1, 45_000));
ok($early_one->poll($is_open), 'D22 begun, with a lock');
received($early_one);
is($early_one->target_sql('SELECT count(*) FROM c'), '10', 'D22 given up for another transaction');
$waiting->query_safe('COMMIT');
received($early_one);
is($early_one->target_sql('SELECT count(*) FROM c'), '0', 'D22 and applied when it commits');
$waiting->query_safe('BEGIN; TRUNCATE c;' . rows('b', 1, 45_000));
ok($early_one->poll($is_open), 'D22 begun, with a lock');
ok($early_one->poll(sub { $is_open->('0') }), 'D22 given up when nothing comes');
$waiting->query_safe(rows('b', 45_001, 90_000) . 'COMMIT');
received($early_one);

$early_one->target_sql("INSERT INTO a VALUES (50000, 'in the way')");
$waiting->query_safe('BEGIN;' . rows('a', 45_001, 90_000));
ok($early_one->poll(sub { $written->('a') }), 'D22 begun with a conflict');
received($early_one);
is($early_one->status_row->{state}, 'running', 'D22 which is none before it commits');
$waiting->query_safe('ROLLBACK');
received($early_one);
$waiting->query_safe('BEGIN;' . rows('a', 45_001, 90_000) . 'COMMIT');
$early_one->wait_state('failed');
my ($conflict, $key) = split /\|/,
  $early_one->target_sql('SELECT end_lsn, key FROM livemigrate.conflicts');
like($key, qr/50000/, 'X01 the conflict is told when it commits');
$early_one->target_sql('DELETE FROM a WHERE id = 50000');
$early_one->resume;
$early_one->wait_state('running');

# What a deferred trigger says at its end has the position of its commit, too.
$early_one->target_sql(<<'SQL');
CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
    IF NEW.id = 5 THEN RAISE 'not this one'; END IF; RETURN NULL; END$$;
CREATE CONSTRAINT TRIGGER no AFTER INSERT ON c DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION no();
ALTER TABLE c ENABLE ALWAYS TRIGGER no;
SQL
$waiting->query_safe('BEGIN;' . rows('c', 1, 25_000));
ok($early_one->poll(sub { $written->('c') }), 'D22 begun where triggers fire');
my $position = $early_one->source_sql('SELECT pg_current_wal_insert_lsn()');
$waiting->query_safe('COMMIT');
$early_one->wait_state('failed');
is( $early_one->target_sql("SELECT kind, end_lsn >= '$position' FROM livemigrate.conflicts
        WHERE table_name = 'c'"), 'COMMIT|t', 'X01 which is no conflict before it commits');
$early_one->target_sql('DROP TRIGGER no ON c');
$early_one->resume;
received($early_one);

# Endpos, set while it is open: it commits behind it, or before.
$waiting->query_safe('BEGIN; TRUNCATE b;' . rows('b', 1, 45_000));
ok($early_one->poll(sub { $is_open->() }), 'X12 begun before endpos is set');
$early_one->set_endpos;
$waiting->query_safe('COMMIT');
$early_one->wait_stage('done');
is($early_one->target_sql('SELECT count(*) FROM b'), '90000', 'X12 commits behind endpos');
is($early_one->target_sql('SELECT count(*) FROM a'), '90000', 'X12 and all before it is there');
$early_one->end_session($waiting);
$early_one->cleanup;

# What a worker had at most is within bounds, whatever the size of the transaction that it met. VmHWM
# has shared memory and libraries in it as well.
sub stays_small {
    my ($one, $label) = @_;
    my %most = (receiver => 64, apply => 256);
  SKIP:
    for my $kind (sort keys %most) {
        my $status = '/proc/' . $one->worker_pid($kind) . '/status';
        skip 'no figures of memory here', 1 unless -r $status;
        my ($memory) = slurp_file($status) =~ /^VmHWM:\s+(\d+) kB/m;
        cmp_ok($memory / 1024, '<', $most{$kind}, "X02 $label: the $kind worker stays small, in MB");
    }
}

# Some 300 MB of the stream, of which the source's WAL holds a hundredth.
my $wide = 'CREATE TABLE wide (id int PRIMARY KEY, v text);';
my $fill = 'INSERT INTO wide SELECT g, repeat(md5(g::text), 3000) FROM generate_series(1, 3000) g;'
  . "UPDATE wide SET v = v || 'x' WHERE id % 20 = 0; DELETE FROM wide WHERE id % 50 = 1;"
  . rows('c', 100_001, 150_000);

sub filled {
    my ($one, $label) = @_;
    my $sql = 'SELECT count(*), sum(id), sum(length(v)) FROM wide';
    my $all = $one->source_sql($sql);
    ok($one->poll(sub { $one->target_sql($sql) eq $all }), "X02 $label: all of it arrives")
      or $one->diagnose('X02');
    stays_small($one, $label);
    $one->source_sql('TRUNCATE wide');
}

# Written as it comes, given up for another transaction, and read again at its commit.
my $memory = $pair->database('memory');
$memory->source_sql($schema . $wide);
$memory->start;
$memory->wait_stage('streaming');
my $filling = $memory->session($source, "BEGIN; $fill");
received($memory);
is($memory->target_sql("SELECT pg_relation_size('wide') > 0, count(*) FROM wide"),
    't|0', 'X02 streamed: it was begun before its commit');
stays_small($memory, 'begun early');
$filling->query_safe('COMMIT');
$memory->end_session($filling);
filled($memory, 'streamed');
$memory->finish('X02 streamed');

# One transaction larger than the spool may be, and the next.
$target->append_conf('postgresql.conf', "livemigrate.spool_size_limit = 4MB\n");
$target->reload;
my $large = $pair->database('large');
$large->source_sql($schema);
$large->start;
$large->wait_stage('streaming');
my $huge = $large->session($source, 'BEGIN;' . rows('a', 1, 150_000));
received($large);
$large->source_sql(rows('b', 1, 100_000));
$large->source_sql(rows('c', 1, 100_000));
received($large);
$huge->query_safe('COMMIT');
$large->source_sql(rows('c', 100_001, 200_000));
$large->end_session($huge);
$large->finish('R13 larger than the spool may be');

# The setting turns it off.
$target->append_conf('postgresql.conf', "livemigrate.stream_in_progress = off\n");
$target->reload;
my $off = $pair->database('off');
$off->source_sql($schema . $wide);
$off->start;
$off->wait_stage('streaming');
interleave($off, 1);
is( $off->source_sql(
        'SELECT coalesce(max(stream_txns), 0) FROM pg_stat_replication_slots s JOIN '
          . 'pg_replication_slots r USING (slot_name) WHERE r.database = current_database()'),
    '0', 'nothing is streamed when it is turned off');
$off->source_sql("BEGIN; $fill COMMIT");
filled($off, 'not streamed');
$off->finish('turned off');

done_testing();
