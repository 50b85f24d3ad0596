# R01, R06, R15: kill -9 of each kind of worker, of the target's postmaster, and an immediate stop
# of the source, while copying and building indexes (018_kill_while_streaming.pl goes on from there).
# The ledger tells lost, doubled and partial transactions; the tables must be equal in the end.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my ($source, $target) = ($pair->source, $pair->target);

# Goes on by itself: retrying is fine, failed is not, except that losing the snapshot may need a
# person to say so.
sub assert_goes_on {
    my ($one, $stage, $label) = @_;
    ok(eval { $one->wait_stage($stage); 1 }, $label) or die "cannot go on: $@";
}

# --- while copying: a lock keeps one table from being copied, the others are done by then.
sub copying {
    my ($dbname, $label, $disturb) = @_;
    my $one = $pair->database($dbname);
    $one->create_ledger;
    $one->start_load(rate => 40);
    $one->start(pause_after => ['schema']);
    $one->wait_stage('schema');
    $one->wait_state('paused');
    my $lock = $one->lock_table($target, 'ledger.bulk');
    $one->resume([]);
    $one->wait_blocked($target);
    $disturb->($one);
    $one->end_session($lock);
    assert_goes_on($one, 'streaming', "R01 $label while copying: goes on by itself");
    $one->assert_ledger('target', "R01 $label while copying: the ledger holds");
    $one->stop_load;
    $one->finish("R01 $label while copying");
}

for my $kind (qw(copy receiver coordinator)) {
    copying(
        "copy_$kind",
        "kill -9 of the $kind worker",
        sub {
            my ($one) = @_;
            $one->kill_worker($kind);
            $one->wait_for_connections($target);
        });
}
copying('copy_term', 'SIGTERM of the copy worker', sub { $_[0]->kill_worker('copy', 'TERM') });
copying(
    'copy_postmaster',
    'kill -9 of the target postmaster',
    sub {
        $pair->crash_and_start($target);
    });
copying(
    'copy_source',
    'immediate restart of the source',
    sub {
        my ($one) = @_;
        $one->stop_background(delete $one->{load});
        $source->stop('immediate');
        $source->start;
        $one->start_load(rate => 40);
    });

# --- while building indexes
my $index = $pair->database('building');
$index->create_ledger;
$index->start(pause_after => ['data']);
$index->wait_stage('data');
$index->wait_state('paused');
my $lock = $index->lock_table($target, 'ledger.bulk');
$index->resume([]);
$index->wait_blocked($target);
$index->kill_worker('index');
$index->wait_for_connections($target);
$index->end_session($lock);
assert_goes_on($index, 'streaming', 'R01 kill -9 of the index worker: goes on by itself');
$index->finish('R01 kill -9 of the index worker');

done_testing();
