# R01, R06, R15, X09: the same as 007_kill_workers.pl while changes are streaming, all in one
# migration and under load.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $one = LiveMigrate::Test->new;
my ($source, $target) = ($one->source, $one->target);
$one->create_ledger;
$one->start_load(rate => 100);
$one->start;
$one->wait_stage('streaming');

# Hot rows are ten times slower while anybody holds a snapshot on the target; and DROP DATABASE
# hangs on whoever does not answer a ProcSignalBarrier.
{
    my $waiting = $one->start_background('psql', '-XAtc', "CALL livemigrate.migration_wait('done')",
        $target->connstr($one->dbname));
    my $sessions = "FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
      . " AND (backend_type ~ '^livemigrate' OR query ~ 'migration_wait')";
    ok($one->poll(sub { $one->target_sql("SELECT count(*) $sessions") >= 4 }),
        'coordinator, receiver, apply worker and a waiting call are there');
    my %held;
    for (1 .. 10) {
        $one->wait_for_load(5);
        $held{$_}++ for split /\n/, $one->target_sql("SELECT backend_type, pid, xact_start, query $sessions"
              . " AND backend_xmin IS NOT NULL AND xact_start < clock_timestamp() - interval '1 s'");
        $one->target_sql('CREATE DATABASE bystander');
        $one->target_sql('DROP DATABASE bystander');
    }
    # One transaction of a busy machine may be seen twice.
    is(join(', ', sort grep { $held{$_} > 2 } keys %held), '', 'nobody holds a snapshot on the target while changes are applied');
    is($one->status_row->{state}, 'running', 'databases were dropped, and the migration runs');
    $one->stop_background($waiting);
}

sub streaming {
    my ($label, $disturb) = @_;
    $disturb->();
    $one->wait_for_connections($target);
    $one->wait_for_load(10);
    my $written = $one->source_sql('SELECT max(id) FROM ledger.audit');
    my $arrived = $one->poll(sub {
        my ($rc, $out) = $target->psql($one->dbname, 'SELECT max(id) FROM ledger.audit');
        return $rc == 0 && $out >= $written;
    });
    ok($arrived, "R01 $label while streaming: changes arrive again") or $one->diagnose($label);
    $one->assert_ledger('target', "R01 $label while streaming: the ledger holds");
}

for my $kind (qw(receiver apply coordinator)) {
    streaming("kill -9 of the $kind", sub { $one->kill_worker($kind) });
}
for my $kind (qw(receiver apply coordinator)) {
    streaming("SIGTERM of the $kind", sub { $one->kill_worker($kind, 'TERM') });
}
streaming(
    'kill -9 of the apply worker in a transaction',
    sub {
        my $held = $one->lock_table($target, 'ledger.inbox');
        $one->wait_blocked($target);
        $one->kill_worker('apply');
        $one->end_session($held);
    });
streaming(
    'kill -9 of the target postmaster',
    sub {
        $one->crash_and_start($target);
    });
streaming('immediate restart of the target', sub { $target->stop('immediate'); $target->start });
streaming(
    'X09 R06 immediate restart of the source',
    sub {
        $one->stop_background(delete $one->{load});
        $source->stop('immediate');
        $source->start;
        $one->start_load(rate => 100);
    });
streaming(
    'kill of the walsender',
    sub {
        $one->source_sql('SELECT pg_terminate_backend(pid) FROM pg_stat_replication');
    });

$one->stop_load;
$one->assert_ledger('source', 'the ledger holds on the source');
$one->finish('R01 after all of this');
$one->assert_ledger('target', 'R01 the ledger holds at the end');

done_testing();
