# migration_abort that is cancelled halfway: the coordinator has been told to leave by then.  What is
# still there goes on, and what cannot go on says so; nothing stays "running" with nobody at work.
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

sub abort_cancelled {
    my ($label) = @_;
    my ($rc, $out, $err) = $target->psql($pair->dbname,
        "SET statement_timeout = '1s'; SELECT livemigrate.migration_abort()");
    like($err, qr/canceling statement due to statement timeout/, "$label: abort is cancelled");
    is($pair->status_row->{state}, 'running', "$label: it is as it was");
}

# While it waits for the coordinator, which leaves later.
my $coordinator = $pair->worker_pid('coordinator');
kill 'STOP', $coordinator;
abort_cancelled('waiting for the coordinator');
kill 'CONT', $coordinator;
ok($pair->poll(sub { !kill 0, $coordinator }), 'the coordinator leaves, as it was told');
$pair->source_sql('INSERT INTO t VALUES (1)');
ok($pair->poll(sub { $pair->target_sql('SELECT count(*) FROM t') eq '1' }), 'another one goes on')
  or $pair->diagnose('the coordinator has left');

# While the source is cleaned up: the slot is gone by then.
my $lock = $pair->lock_table($source, 'pg_catalog.pg_publication');
abort_cancelled('waiting for the source');
$pair->end_session($lock);
$pair->wait_state('failed');
my $row = $pair->status_row;
like($row->{message}, qr/^(?:publication|replication slot) "livemigrate_main" .*(?:gone|not exist)/, 'it says what is missing');
like($row->{hint}, qr/SELECT livemigrate\.migration_abort\('main'\);/, 'and what to do');
$pair->abort;
$pair->cleanup;
$pair->assert_nothing_left('aborted');

done_testing();
