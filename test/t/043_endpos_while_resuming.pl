# E05: endpos set while a coordinator starts, which has read the migration but cannot be reached
# yet.  It must not miss it: the migration would say "up to endpos" and never end.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my ($source, $target) = ($pair->source, $pair->target);
$pair->source_sql('CREATE TABLE t (id int PRIMARY KEY)');
$pair->start;
$pair->wait_stage('streaming');
$pair->pause;
$pair->wait_state('paused');
$pair->source_sql('INSERT INTO t SELECT generate_series(1, 10)');

sub waiting {
    my ($count, $modes) = @_;
    return $pair->poll(
        sub {
            $target->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE NOT granted
                AND locktype = 'relation' AND mode ~ '^$modes\$'") eq $count;
        });
}

# The lock is there when resume commits, and keeps the new coordinator from telling where its shared
# memory is; set_endpos comes behind it and has locked the row.
my $resume = $pair->session($target, 'BEGIN; SELECT livemigrate.migration_resume()');
my $holder = $pair->session($target);
$holder->query_until(qr/asking/,
    "\\echo asking\nBEGIN; LOCK TABLE livemigrate.migration IN SHARE MODE;\n");
ok(waiting(1, 'ShareLock'), 'the lock waits for resume');
$resume->query_safe('COMMIT');
ok(waiting(1, 'Row.*'), 'the coordinator waits for the lock');
my $endpos = $pair->start_background('psql', '-X', '-d', $target->connstr('app'),
    '-c', 'SELECT livemigrate.set_endpos()');
ok(waiting(2, 'Row.*'), 'set_endpos waits for the lock');
$holder->query_safe('COMMIT');
$pair->end_session($_) for $resume, $holder;
$endpos->{run}->finish;
like($endpos->{output}, qr{[0-9A-F]+/[0-9A-F]+}, 'set_endpos succeeds');
$pair->finish('E05 set while a coordinator starts', endpos => 0);

# Set again when apply has ended at the first one, and the coordinator waits for the receiver to leave.
my $again = $pair->database('again');
$again->source_sql('CREATE TABLE t (id int PRIMARY KEY)');
$again->start;
$again->wait_stage('streaming');
$again->source_sql('INSERT INTO t VALUES (1)');
ok($again->poll(sub { $again->target_sql('SELECT count(*) FROM t') == 1 }), 'a change is applied');
my $receiver = $again->worker_pid('receiver');
kill 'STOP', $receiver;
# What it has taken in already may be applied behind the position that is read.
ok($again->poll(sub { $target->psql('again',
        'SELECT livemigrate.set_endpos(applied_lsn) FROM livemigrate.migration_status()') == 0 }), 'endpos is set');
ok($again->poll(sub { $again->target_sql("SELECT count(*) FROM livemigrate.events
        WHERE message ~ '^endpos .* is reached'") == 1 }), 'the first endpos is reached');
$again->source_sql('INSERT INTO t VALUES (2)');
my $later = $again->target_sql('SELECT livemigrate.set_endpos()');
kill 'CONT', $receiver;
$again->wait_stage('done');
is($again->target_sql('SELECT endpos FROM livemigrate.migration_status()'), $later, 'the later one counts');
$again->finish('E05 set again while streaming ends', endpos => 0);

done_testing();
