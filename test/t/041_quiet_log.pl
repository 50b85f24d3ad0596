# What ordinary operation leaves in the target's log: nothing that looks like trouble.  Workers that
# are not needed any more stop at once, also from a lock wait, and without a word; those that are
# told to go by somebody else still say so.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use PostgreSQL::Test::Utils;
use Test::More;

# Autovacuum says so in the log when it makes way for a lock.
my $pair = LiveMigrate::Test->new(target_conf => "autovacuum = off\n");
my ($source, $target) = ($pair->source, $pair->target);

# Since the last call.
my %offset;

sub trouble {
    my ($node) = @_;
    my $log = slurp_file($node->logfile, $offset{ $node->name } // 0);
    $offset{ $node->name } = -s $node->logfile;
    return join "\n",
      grep { /(?:WARNING|ERROR|FATAL|PANIC):  |exited with exit code|terminated by/ } split /\n/,
      $log;
}

sub assert_quiet {
    my ($label) = @_;
    is(trouble($target), '', "$label: the target's log is quiet");
}

# One that has to be terminated for that, because it does not stop by itself in time, says so in the log.
sub assert_stops {
    my ($one, $how, $label) = @_;
    $how eq 'abort' ? $one->abort : $one->pause;
    $one->wait_state($how eq 'abort' ? 'aborted' : 'paused');
    ok( $one->poll(
            sub {
                $target->safe_psql('postgres',
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = '" . $one->dbname
                        . "' AND backend_type ~ 'livemigrate (copy|index|apply|receiver)'"
                ) eq '0';
            }),
        "$label: the workers are gone");
}

trouble($_) for $source, $target;
$pair->create_ledger;

# --- start, a pause in every long stage, resume, done, cleanup
$pair->start_load(rate => 50);
$pair->start(pause_after => ['schema']);
$pair->wait_stage('schema');
$pair->wait_state('paused');
assert_quiet('paused after schema');

my $lock = $pair->lock_table($target, 'ledger.bulk');
$pair->resume(['data']);
$pair->wait_blocked($target);
assert_stops($pair, 'pause', 'paused while COPY waits for a lock');
$pair->end_session($lock);
assert_quiet('paused while copying');

$pair->resume;
$pair->wait_stage('data');
$pair->wait_state('paused');
assert_quiet('paused after data');
$lock = $pair->lock_table($target, 'ledger.bulk');
$pair->resume([]);
$pair->wait_blocked($target);
assert_stops($pair, 'pause', 'paused while an index build waits for a lock');
$pair->end_session($lock);
assert_quiet('paused while building indexes');
is( $pair->target_sql("SELECT count(*) FROM livemigrate.index_progress WHERE error IS NOT NULL"),
    '0',
    'no job counts as failed');

$pair->resume;
$pair->wait_stage('streaming');
assert_stops($pair, 'pause', 'paused while streaming');
assert_quiet('paused while streaming');
$pair->resume;
$lock = $pair->lock_table($target, 'ledger.account');
$pair->wait_blocked($target);
assert_stops($pair, 'pause', 'paused while apply waits for a lock');
$pair->end_session($lock);
assert_quiet('paused while applying');
is($pair->target_sql('SELECT count(*) FROM livemigrate.conflicts'), '0', 'no conflict is recorded');

$pair->resume;
$pair->stop_load;
$pair->finish('after many pauses');
assert_quiet('done and cleaned up');

# --- a copy in the middle of its data, and one that has not begun
my $big = $pair->database('big');
$big->source_sql('CREATE TABLE big (id int PRIMARY KEY, filler text);
    INSERT INTO big SELECT g, repeat(md5(g::text), 10) FROM generate_series(1, 300000) g');
trouble($target);
$big->start;
$big->poll(sub {
    $big->target_sql("SELECT count(*) FROM livemigrate.workers WHERE kind = 'copy'") ne '0' });
assert_stops($big, 'pause', 'paused while copying');
assert_quiet('paused in the middle of COPY');
$big->resume;
$big->wait_stage('streaming');
assert_stops($big, 'abort', 'aborted while streaming');
assert_quiet('aborted while streaming');

# --- abort while everything waits
my $stuck = $pair->database('stuck');
$stuck->create_ledger;
trouble($target);
$stuck->start(pause_after => ['schema']);
$stuck->wait_stage('schema');
$stuck->wait_state('paused');
$lock = $stuck->lock_table($target, 'ledger.bulk');
$stuck->resume([]);
$stuck->wait_blocked($target);
assert_stops($stuck, 'abort', 'aborted while COPY waits for a lock');
$stuck->end_session($lock);
assert_quiet('aborted while copying');
$stuck->assert_nothing_left('nothing left');

# --- a worker that somebody cancels or terminates is started again
my $touched = $pair->database('touched');
$touched->source_sql('CREATE TABLE t (id int PRIMARY KEY)');
$touched->start;
$touched->wait_stage('streaming');
trouble($target);
for my $kind (qw(apply receiver)) {
    for my $function (qw(cancel terminate)) {
        my $pid = $touched->worker_pid($kind);
        $touched->target_sql("SELECT pg_${function}_backend($pid)");
        ok( $touched->poll(
                sub {
                    my $now = $touched->target_sql(
                        "SELECT min(pid) FROM livemigrate.workers WHERE kind = '$kind'");
                    $now && $now ne $pid;
                }),
            "pg_${function}_backend of the $kind worker: another one goes on");
    }
}
my @terminated = trouble($target) =~ /FATAL:  terminating background worker/g;
is(scalar @terminated, 2, 'the log names the two that were terminated');
$touched->source_sql('INSERT INTO t SELECT generate_series(1, 10)');
$touched->finish('cancelled and terminated');

done_testing();
