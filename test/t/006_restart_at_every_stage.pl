# The target is restarted at every pause and in the middle of every long stage.  With preload a
# migration that was running goes on by itself, and one that was paused stays paused: R14, R16,
# G14.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $pair = LiveMigrate::Test->new;
$pair->create_ledger;
my ($source, $target) = ($pair->source, $pair->target);

# A fast shutdown must not wait for a worker that is busy with the other server.  Of its time only that
# counts in which processes end: what is left is the checkpoint, and pg_ctl.
sub restart_fast {
    my ($label) = @_;
    my $offset = -s $target->logfile;
    $target->stop('fast', fail_ok => 1) or $target->stop('immediate');
    my ($from, $to) = map { seconds_of($offset, $_) } 'received fast shutdown request', 'shutting down';
    my $seconds = defined $from && defined $to ? ($to - $from) % 86400 : 'too many';
    ok($seconds ne 'too many' && $seconds < 10, "R16 fast shutdown $label took $seconds s");
    $target->start;
}

# When the server wrote this, since midnight.
sub seconds_of {
    my ($offset, $message) = @_;
    return unless slurp_file($target->logfile, $offset) =~ / (\d\d):(\d\d):(\d\d)\.\d+ [^\n]*LOG:  \Q$message\E$/m;
    return $1 * 3600 + $2 * 60 + $3;
}

$pair->start_load(rate => 50);
$pair->wait_for_load(5);
my @stages = qw(preflight slot roles schema data indexes catchup);
$pair->start(pause_after => \@stages);
for my $stage (@stages) {
    $pair->wait_stage($stage);
    $pair->wait_state('paused');
    restart_fast("while paused after $stage");
    is($pair->status_row->{state}, 'paused', "G14 still paused after $stage and a restart");
    $pair->resume;
}
$pair->wait_stage('streaming');
$pair->assert_ledger('target', 'G14 the ledger holds after seven restarts');
restart_fast('while streaming under load');
my $applied = $pair->status_row->{applied_lsn};
ok($pair->poll(sub { my $now = $pair->status_row->{applied_lsn}; $now && $now ne $applied }),
    'G14 streaming goes on by itself');
$pair->assert_ledger('target', 'G14 the ledger holds after a restart while streaming');
$pair->stop_load;
$pair->set_endpos;
$pair->resume if $pair->status_row->{state} eq 'paused';
$pair->wait_stage('done');
$target->restart;
is($pair->status_row->{state}, 'done', 'R19 a restart after the end changes nothing');
$pair->assert_equal_tables('G14 equal tables');
$pair->cleanup;
$pair->assert_nothing_left('G14 nothing left');

# In the middle of a stage: a lock holds the migration there, and goes with the restart or after it.
my $busy = $pair->database('busy');
$busy->create_ledger;
$busy->source_sql('CREATE TABLE ledger.late (id int PRIMARY KEY)');

sub restart_when_blocked {
    my ($label, $node, $lock) = @_;
    $busy->wait_blocked($node);
    restart_fast($label);
    $busy->end_session($lock);
}

# The slot stage takes a lock on every table, before the snapshot is used.
my $lock = $busy->lock_table($source, 'ledger.late');
$busy->start(pause_after => ['roles']);
restart_when_blocked('while the slot stage waits for a lock', $source, $lock);
$busy->wait_stage('roles');
$busy->wait_state('paused');

# pg_dump waits for a catalog that nobody else reads; the snapshot is lost with the restart.
$lock = $busy->lock_table($source, 'pg_catalog.pg_ts_parser');
$busy->resume(['schema']);
restart_when_blocked('while pg_dump waits for a lock', $source, $lock);
$busy->wait_stage('schema');
$busy->wait_state('paused');

# COPY waits on the target for a lock that ends with the server.
$lock = $busy->lock_table($target, 'ledger.bulk');
$busy->resume(['data']);
restart_when_blocked('while COPY waits for a lock', $target, $lock);
$busy->work(10);
$busy->wait_stage('data');
$busy->wait_state('paused');

$lock = $busy->lock_table($target, 'ledger.bulk');
$busy->resume(['indexes']);
restart_when_blocked('while an index build waits for a lock', $target, $lock);
$busy->wait_stage('indexes');
$busy->wait_state('paused');

# What was written before the new snapshot came with the copy: apply needs something of its own.
$busy->work(10);
$lock = $busy->lock_table($target, 'ledger.account');
$busy->resume;
restart_when_blocked('while apply waits for a lock', $target, $lock);
$busy->wait_stage('streaming');
$busy->work(10);
$busy->assert_ledger('target', 'G14 the ledger holds');
$busy->finish('G14 restarted inside every stage');

# R14, R16: the source does not answer at all (SIGSTOP) while the target shuts down.
my $silent = $pair->database('silent');
$silent->source_sql('CREATE TABLE t (id int PRIMARY KEY)');
$silent->start;
$silent->wait_stage('streaming');
my @walsenders = split /\n/,
    $silent->source_sql("SELECT pid FROM pg_stat_activity WHERE application_name ~ 'livemigrate'");
kill 'STOP', @walsenders;
restart_fast('while the source is silent');
kill 'CONT', @walsenders;
$silent->source_sql('INSERT INTO t SELECT generate_series(1, 10)');
$silent->finish('R16 after silence');

done_testing();
