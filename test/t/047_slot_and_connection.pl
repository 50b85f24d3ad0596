# What happens to the slot and to the connection while changes stream: R08 the slot loses WAL, R09 it
# is dropped, or dropped and made again, R11 and S15 the source shuts down and stays away, S08 a short
# wal_sender_timeout, S16 a quiet database in a busy cluster.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

# Longer than a busy machine may stand still.
my $walsender_timeout = 6;
my $pair = LiveMigrate::Test->new(source_conf => "wal_sender_timeout = ${walsender_timeout}s\n");
my ($source, $target) = ($pair->source, $pair->target);

sub streaming {
    my ($dbname, %arg) = @_;
    my $one = $pair->database($dbname);
    $one->source_sql('CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 9)');
    $one->start(%arg);
    $one->wait_stage('streaming');
    return $one;
}

sub paused {
    my $one = streaming(@_);
    $one->pause;
    $one->wait_state('paused');
    return $one;
}

sub slot_of {
    my ($one) = @_;
    return $one->status_row->{slot_name};
}

# Its walsender may be about to leave.
sub drop_slot {
    my ($one) = @_;
    $one->poll(sub { $source->psql($one->dbname, "SELECT pg_drop_replication_slot('" . slot_of($one) . "')") == 0 })
      or die 'the slot is in use';
}

sub assert_hard_stop {
    my ($one, $label, $message) = @_;
    $one->resume;
    $one->wait_state('failed');
    my $row = $one->status_row;
    like($row->{message}, $message, "$label: the message says what happened");
    like($row->{hint} // '', qr/migration_abort\('/, "$label: the hint is the safe option");
    is($one->target_sql('SELECT count(*) FROM t'), '9', "$label: nothing was applied past the gap");
    $one->abort;
}

# --- S08, X13: silence for wal_sender_timeout would end the walsender; apply is blocked for longer than that
my $short = streaming('short');
my $offset = -s $source->logfile;
my $lock   = $short->lock_table($target, 't');
$short->source_sql('INSERT INTO t VALUES (10)');
$short->wait_blocked($target);
my $began = time;
$short->poll(sub { time - $began > $walsender_timeout + 2 });
$short->end_session($lock);
ok($short->poll(sub { $short->target_sql('SELECT count(*) FROM t') eq '10' }), 'S08 goes on');
unlike(slurp_file($source->logfile, $offset), qr/replication timeout/, 'S08 the walsender lives');

# --- S16: only another database of the source writes; the slot must not hold its WAL back
my $position = $source->safe_psql('postgres',
    'CREATE TABLE busy AS SELECT generate_series(1, 10000) AS g; SELECT pg_current_wal_lsn()');
ok( $source->poll_query_until('postgres',
        "SELECT confirmed_flush_lsn >= '$position' FROM pg_replication_slots
            WHERE slot_name = 'livemigrate_short'"),
    'S16 the slot of a quiet database advances');
is($short->status_row->{state}, 'running', 'S16 still running');

# --- S15, R11: the source goes away while something is on its way. pg_ctl would give up after a minute.
$lock = $short->lock_table($target, 't');
$short->source_sql('INSERT INTO t VALUES (11)');
$short->wait_blocked($target);
$began = time;
$source->stop('fast');
cmp_ok(time - $began, '<', 45, 'S15 the source shuts down in seconds');
$short->end_session($lock);
$offset = -s $target->logfile;
ok($short->poll(sub {
            my $row = $short->status_row;
            return $row->{state} eq 'retrying' && $row->{message} =~ /source/;
        }), 'R11 the message says what is missing');
ok($short->poll(sub { ($short->status_row->{attempts} // 0) >= 3 }), 'R11 it is tried again');
my @lines = split /\n/, slurp_file($target->logfile, $offset);
cmp_ok(scalar(grep { /livemigrate/ && !/statement: / } @lines), '<', 20, 'R11 without a flood in the log');

# The fourth to the seventh would take a minute by themselves.
my $attempts = sub { $short->status_row->{attempts} // 0 };
ok( $short->poll(sub {
            $target->psql($short->dbname, "SELECT livemigrate.migration_resume('short')");
            return $attempts->() >= 7;
        }, 40), 'R11 at once, when asked to');
like($short->target_sql('SELECT string_agg(DISTINCT message, $$ $$) FROM livemigrate.events'), qr/tried again at once/,
    'R11 which is an event');
$source->start;
$short->resume([]);
ok($short->poll(sub { $short->target_sql('SELECT count(*) FROM t') eq '11' }),
    'R11 goes on by itself');
$short->wait_state('running');
$short->finish('R11 after the source was away');

# --- R09
my $gone = paused('gone');
drop_slot($gone);
assert_hard_stop($gone, 'R09 dropped', qr/slot "livemigrate_gone" is gone from the source/);

my $again = paused('again');
drop_slot($again);
$again->source_sql('INSERT INTO t VALUES (10)');
$again->source_sql(
    "SELECT pg_create_logical_replication_slot('" . slot_of($again) . "', 'pgoutput')");
assert_hard_stop($again, 'R09 made again', qr/slot|spool|source/);

my $other = paused('other');
drop_slot($other);
$other->source_sql(
    "SELECT pg_create_logical_replication_slot('" . slot_of($other) . "', 'test_decoding')");
$other->resume;
$other->wait_state('failed');
like($other->status_row->{message}, qr/not the one/, 'R09 another plugin: named');
ok($other->status_row->{hint}, 'R09 another plugin: with a hint');
$other->abort;

# --- R08
my $lost = paused('lost');
$source->safe_psql('postgres', "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'");
$source->reload;
$lost->source_sql('INSERT INTO t VALUES (10)');
ok($lost->poll(sub {
            $source->safe_psql('postgres', 'CREATE TABLE x (); DROP TABLE x; SELECT pg_switch_wal(); CHECKPOINT');
            return $source->safe_psql('postgres', "SELECT wal_status FROM pg_replication_slots
                WHERE slot_name = 'livemigrate_lost'") eq 'lost';
        }), 'R08 the slot has lost WAL');
assert_hard_stop($lost, 'R08', qr/has lost changes/);

$pair->database('none')->assert_nothing_left('nothing left');

done_testing();
