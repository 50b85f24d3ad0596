# Where apply stops: a transaction whose commit record ends at or before endpos is applied, every
# other one is left out whole.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use PostgreSQL::Test::Utils qw(append_to_file);
use Test::More;

# Nothing but the test writes WAL, so positions mean what they seem to.
my $pair = LiveMigrate::Test->new(source_conf => "autovacuum = off\n");

# Five transactions are buffered before apply starts; test_decoding tells their positions.  The
# third spans the fourth, it begins before and commits after, and several segments of the spool.
sub prepare {
    my ($case) = @_;
    my $one = $pair->database($case);
    $one->source_sql(<<'SQL');
CREATE TABLE t (id int PRIMARY KEY, tx text, filler text);
INSERT INTO t VALUES (0, 'copied');
CREATE FUNCTION long_rows(first int) RETURNS void LANGUAGE sql AS
    $$INSERT INTO t SELECT first + g, 'long', repeat('x', 500000) FROM generate_series(0, 2) g$$;
SQL
    $one->start(pause_after => ['indexes']);
    $one->wait_stage('indexes');
    $one->wait_state('paused');
    my $observer = "observer_$case";
    $one->source_sql("SELECT pg_create_logical_replication_slot('$observer', 'test_decoding')");

    $one->source_sql("INSERT INTO t SELECT g, 'one' FROM generate_series(1, 3) g");
    $one->source_sql("SELECT pg_logical_emit_message(false, 'gap', repeat('x', 1000))");
    $one->source_sql("INSERT INTO t SELECT g, 'two' FROM generate_series(11, 13) g");
    my $long = $one->session($one->source, 'BEGIN; SELECT long_rows(21)');
    $one->source_sql("INSERT INTO t SELECT g, 'short' FROM generate_series(31, 33) g");
    $long->query_safe('SELECT long_rows(24); COMMIT');
    $one->end_session($long);
    $one->source_sql("INSERT INTO t SELECT g, 'last' FROM generate_series(41, 43) g");

    # name => [begin, each change, end of the commit record]
    my (%position, @open, $tx);
    for my $line (
        split /\n/,
        $one->source_sql(
            "SELECT lsn, left(data, 200) FROM pg_logical_slot_get_changes('$observer', NULL, NULL)")
    ) {
        my ($lsn, $data) = split /\|/, $line, 2;
        @open = () if $data =~ /^BEGIN/;
        push @open, $lsn;
        $tx            = $1      if $data =~ /tx\[text\]:'(\w+)'/;
        $position{$tx} = [@open] if $data =~ /^COMMIT/;
    }
    $one->source_sql("SELECT pg_drop_replication_slot('$observer')");
    return ($one, \%position);
}

sub applied {
    my ($one) = @_;
    return $one->target_sql("SELECT string_agg(tx || count, ',' ORDER BY first)"
            . ' FROM (SELECT tx, count(*), min(id) AS first FROM t GROUP BY tx) s');
}

# Runs the buffered transactions up to endpos and tells what is on the target.
sub test_endpos {
    my ($case, $label, $endpos, $expected) = @_;
    my ($one, $position) = prepare($case);
    my $lsn = $endpos->($position, $one);
    is($one->set_endpos($lsn), $lsn, "$label: set_endpos returns the position");
    $one->resume;
    $one->wait_stage('done');
    is(applied($one),              $expected, $label);
    is($one->status_row->{endpos}, $lsn,      "$label: status shows it");
    $one->cleanup;
    return $one;
}

sub minus {
    my ($lsn, $bytes) = @_;
    return $pair->source->safe_psql('postgres', "SELECT '$lsn'::pg_lsn - $bytes");
}

test_endpos(
    'e01',
    'E01 endpos at the end of a commit includes it',
    sub { $_[0]{two}[-1] },
    'copied1,one3,two3');
test_endpos(
    'e01b',
    'E01 endpos one byte before the end of a commit excludes it',
    sub { minus($_[0]{two}[-1], 1) },
    'copied1,one3');
test_endpos(
    'e02',
    'E02 endpos between two transactions',
    sub { minus($_[0]{two}[0], 100) },
    'copied1,one3');
test_endpos(
    'e03',
    'E03 endpos inside a transaction excludes it whole',
    sub { $_[0]{two}[2] },
    'copied1,one3');
test_endpos(
    'e04',
    'E04 endpos inside a long transaction: a short one committed before is included',
    sub { $_[0]{short}[-1] },
    'copied1,one3,two3,short3');
my $ended = test_endpos(
    'e04b',
    'E04 endpos at the end of the long one includes both',
    sub { $_[0]{long}[-1] },
    'copied1,one3,two3,long6,short3');

# R19: what is done stays done.
$ended->assert_error("SELECT livemigrate.set_endpos('FFFF/0', 'e04b')",
    'E05 endpos after done is an error');
is(applied($ended), 'copied1,one3,two3,long6,short3', 'E05 and nothing more is applied');

# While streaming.
my $live = $pair->database('live');
$live->source_sql('CREATE TABLE t (id int PRIMARY KEY, tx text)');
$live->start;
$live->wait_stage('streaming');
$live->source_sql("INSERT INTO t VALUES (1, 'one')");
ok($live->poll(sub { applied($live) eq 'one1' }), 'E05 a change arrives');

my $before = $live->status_row->{applied_lsn};
$live->assert_error(
    "SELECT livemigrate.set_endpos('0/1', 'live')",
    'E05 endpos before what is applied is an error',
    message => qr/endpos|appl/);
is($live->status_row->{endpos}, undef, 'E05 and changes nothing');

my $future = $live->source_sql('SELECT pg_current_wal_insert_lsn() + 2000000');
my $nearer = $live->source_sql('SELECT pg_current_wal_insert_lsn() + 1000000');
$live->set_endpos($future);
is($live->set_endpos($nearer),  $nearer, 'E05 endpos can be set again');
is($live->status_row->{endpos}, $nearer, 'E05 and the second counts');
$live->source_sql("INSERT INTO t VALUES (2, 'two')");
ok( $live->poll(sub { applied($live) eq 'one1,two1' }),
    'E05 with endpos in the future streaming goes on');
like($live->status_row->{stage}, qr/streaming|catchup/, 'E05 and the stage stays');
$live->source_sql("SELECT pg_logical_emit_message(false, 'gap', repeat('x', 1100000))");
$live->source_sql("INSERT INTO t VALUES (3, 'beyond')");
$live->wait_stage('done');
is(applied($live),              'one1,two1', 'E05 what commits beyond it is left out');
is($live->status_row->{endpos}, $nearer,     'E05 status keeps it');
$live->cleanup;

# An idle source, and NULL for its current position.
my $idle = $pair->database('idle');
$idle->source_sql('CREATE TABLE t (id int PRIMARY KEY, tx text)');
$idle->start;
$idle->wait_stage('streaming');
$idle->source_sql("INSERT INTO t VALUES (1, 'one')");
my $current = $idle->source_sql('SELECT pg_current_wal_insert_lsn()');
my $endpos  = $idle->set_endpos;
is($idle->source_sql("SELECT '$endpos'::pg_lsn >= '$current'::pg_lsn"),
    't', 'E06 NULL takes what is committed');
$idle->wait_stage('done');
is(applied($idle), 'one1', 'E05 endpos is reached on an idle source');
$idle->cleanup;
# The current position of a source that is written to: apply follows at once, yet never past it.
my $busy = $pair->database('busy');
$busy->source_sql('CREATE TABLE t (id serial PRIMARY KEY, tx text)');
$busy->start;
$busy->wait_stage('streaming');
my $script = $pair->source->basedir . '/busy.sql';
append_to_file($script, "INSERT INTO t (tx) VALUES ('busy');\n");
my $writer = $pair->start_background('pgbench', '-n', '-c', 4, '-T', 600, '-f', $script,
    $pair->source->connstr($busy->dbname));
ok($busy->poll(sub { $busy->target_sql('SELECT count(*) FROM t') > 100 }), 'E06 a busy source');
my $rolled_back = join '',
  map { "BEGIN; SELECT livemigrate.set_endpos(NULL, 'busy'); ROLLBACK;\n" } 1 .. 20;
my ($rc, undef, $errors) = $busy->target->psql($busy->dbname, $rolled_back, on_error_stop => 1);
is("$rc $errors", '0 ', 'E06 the position is never behind apply');
is($busy->status_row->{endpos}, undef, 'E06 nothing stays of what is rolled back');

# Nor is it published when only a savepoint brought it.
$busy->target_sql("BEGIN; SAVEPOINT s; SELECT livemigrate.set_endpos(NULL, 'busy'); ROLLBACK TO s; COMMIT");
my $count = $busy->target_sql('SELECT count(*) FROM t');
ok($busy->poll(sub { $busy->target_sql('SELECT count(*) FROM t') > $count + 100 }),
    'E06 apply goes on after each of them');

my $at = $busy->target_sql("BEGIN; SELECT livemigrate.set_endpos(NULL, 'busy'); SELECT pg_sleep(0.5); COMMIT");
my $last = $busy->source_sql('SELECT max(id) FROM t');
ok($busy->poll(sub { $busy->source_sql('SELECT max(id) FROM t') > $last + 1 }), 'E06 the source goes on');
$pair->stop_background($writer);
$pair->source->poll_query_until('postgres',
    "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name ~ 'pgbench'");
$busy->source_sql("INSERT INTO t (tx) VALUES ('after')");
$busy->wait_stage('done');
is($busy->target_sql("SELECT count(*) FROM t WHERE tx = 'after'"), '0', 'E06 nothing from behind it');
my $missing = $busy->source_sql('SELECT max(id) FROM t') - $busy->target_sql('SELECT max(id) FROM t');
cmp_ok($missing, '>', 1, 'E06 the source has gone on');
$busy->cleanup;
$pair->assert_nothing_left('nothing left of any of them');

done_testing();
