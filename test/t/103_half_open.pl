# R10: the network between the servers swallows everything, and nobody is told.  Both ends of the
# connection go on to exist; what ends it is the time limit on data that is not acknowledged, or, of a
# session that holds the snapshot and its locks while nothing is sent, the keepalives of either side.
#
# Needs a network namespace of its own, whose loopback can be taken down.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

BEGIN {
    unless ($ENV{LIVEMIGRATE_OWN_NETWORK}) {
        my @unshare = qw(unshare --user --map-current-user --keep-caps --net);
        if (system(@unshare, qw(ip link set lo up)) == 0) {
            $ENV{LIVEMIGRATE_OWN_NETWORK} = 1;
            exec @unshare, $^X, $0, @ARGV or die "unshare: $!\n";
        }
    }
}

use LiveMigrate::Test;
use Test::More;
use Time::HiRes qw(time);

plan skip_all => 'a network namespace of its own is not allowed here (unshare --user --net, ip)'
    unless $ENV{LIVEMIGRATE_OWN_NETWORK};

sub loopback {
    my ($state) = @_;
    system('ip', 'link', 'set', 'lo', $state) == 0 or die "ip link set lo $state\n";
    return;
}
loopback('up');

my $pair = LiveMigrate::Test->new(source_conf => "listen_addresses = '127.0.0.1'\n");
$pair->source->restart;
$pair->source_sql('CREATE TABLE t (id int PRIMARY KEY, v text);
    INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 1000) g');
$pair->start(source => $pair->conninfo(host => '127.0.0.1'));
$pair->wait_stage('streaming');

# Of the source's sessions only that with the snapshot is idle in a transaction.
my $held = $pair->database('held');
$held->source_sql('CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)');
$held->start(source => $held->conninfo(host => '127.0.0.1'), pause_after => ['schema']);
$held->wait_stage('schema');
$held->wait_state('paused');
my $locks = "SELECT count(*) FROM pg_stat_activity a JOIN pg_locks l USING (pid)
    WHERE a.datname = 'held' AND a.state = 'idle in transaction' AND l.relation = 't'::regclass";
is($held->source_sql($locks), '1', 'R10 a session holds the snapshot, and locks the table');

my $receiver = $pair->worker_pid('receiver');
my $begin    = time;
loopback('down');
$pair->source_sql("INSERT INTO t SELECT g, 'unseen' FROM generate_series(2001, 3000) g");
ok( $pair->poll(
        sub {
            $pair->target_sql("SELECT count(*) FROM livemigrate.workers
                WHERE kind = 'receiver' AND pid = $receiver") == 0;
        }),
    'R10 the receiver notices');
cmp_ok(time - $begin, '<', 120, 'R10 within a minute, or little more on a busy machine');
is($pair->target_sql("SELECT state IN ('running', 'retrying') FROM livemigrate.migration_status()"),
    't', 'R10 the migration goes on trying');

ok($held->poll(sub { $held->source_sql($locks) eq '0' }), 'R10 the source holds no lock for a session that is gone')
  or diag $held->source_sql('SELECT * FROM pg_stat_activity');
ok($held->poll(sub { $held->target_sql("SELECT count(*) FROM livemigrate.events WHERE migration = 'held'
        AND severity = 'warning' AND message ~ 'the snapshot was lost'") eq '1' }), 'R10 the loss of the snapshot is told');

$pair->assert_answers_barrier('the network is gone');

# The source's walsender may still hold the slot.
loopback('up');
ok( $pair->poll(sub { $pair->target_sql("SELECT count(*) FROM t WHERE v = 'unseen'") == 1000 }, 300),
    'R10 everything arrives when the network is back') or $pair->diagnose('R10');
$held->resume([]);
$held->wait_stage('streaming');
is($held->target_sql("SELECT count(*) FROM livemigrate.events WHERE message ~ 'a new snapshot was taken'"), '1',
    'R10 a new snapshot is taken');
$held->abort;
$held->cleanup;
# A session with data that nobody has acknowledged is found out only when that is sent again.
$pair->finish('R10', left_for => 300);
done_testing();
