# A migration that failed is resumed while its coordinator still waits for a worker to end: longer than
# anybody would wait for the coordinator.  State "running" must never stay there with nobody at work.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my $target = $pair->target;
$pair->source_sql('CREATE TABLE t (id int PRIMARY KEY)');
$pair->start;
$pair->wait_stage('streaming');

sub coordinators {
    return $pair->target_sql("SELECT string_agg(pid::text, ',' ORDER BY pid) FROM pg_stat_activity
        WHERE backend_type = 'livemigrate coordinator'");
}

# The change is in the spool when apply meets it, so that it is the receiver that does not end.
sub fail_with_stopped_receiver {
    my ($id) = @_;
    my ($apply, $receiver) = map { $pair->worker_pid($_) } qw(apply receiver);
    kill 'STOP', $apply;
    $pair->target_sql("INSERT INTO t VALUES ($id)");
    $pair->source_sql("INSERT INTO t VALUES ($id)");
    my $lsn = $pair->source_sql('SELECT pg_current_wal_lsn()');
    $pair->poll(sub { $pair->target_sql("SELECT received_lsn >= '$lsn' FROM livemigrate.migration_status()") eq 't' })
      or die "the change did not come\n";
    kill 'STOP', $receiver;
    kill 'CONT', $apply;
    $pair->wait_state('failed');
    $pair->target_sql("DELETE FROM t WHERE id = $id");
    return $receiver;
}

my $receiver = fail_with_stopped_receiver(1);
my $first    = coordinators();
$pair->resume;
ok($pair->poll(sub { $pair->status_row->{message} eq "waiting for process $receiver to end" }),
    'the status says what resuming waits for') or $pair->diagnose('resumed');
is($pair->status_row->{state}, 'running', 'it is to run');
ok($pair->poll(sub { coordinators() eq $first }), 'the coordinator that is there will go on, no other waits');
kill 'CONT', $receiver;
ok($pair->poll(sub { $pair->target_sql('SELECT count(*) FROM t') eq '1' }), 'the migration goes on')
  or $pair->diagnose('the receiver has ended');

# Not resumed: its failure stays what is shown.
$receiver = fail_with_stopped_receiver(2);
my $message = $pair->status_row->{message};
unlike($message, qr/waiting for process/, 'a failure is shown as such');
kill 'CONT', $receiver;
ok($pair->poll(sub { !kill 0, $receiver }), 'the receiver ends');
ok($pair->poll(sub { !coordinators() }), 'and then the coordinator');
is($pair->status_row->{state}, 'failed', 'the migration stays failed');
is($pair->status_row->{message}, $message, 'with its message');
$pair->resume;
$pair->finish('resumed twice');

# A pause that is taken back while the workers end is none.
$pair = $pair->database('pausing');
$pair->source_sql('CREATE TABLE t (id int PRIMARY KEY)');
$pair->start;
$pair->wait_stage('streaming');
my $apply = $pair->worker_pid('apply');
$receiver = $pair->worker_pid('receiver');
kill 'STOP', $receiver;
$pair->pause;
ok($pair->poll(sub { !kill 0, $apply }), 'workers end for a pause') or $pair->diagnose('pausing');
$pair->resume;
kill 'CONT', $receiver;
$pair->source_sql('INSERT INTO t VALUES (1)');
ok($pair->poll(sub { $pair->target_sql('SELECT count(*) FROM t') eq '1' }), 'and a pause that is taken back then is none')
  or $pair->diagnose('resumed');
$pair->finish('resumed while it was to pause');

# What keeps a coordinator from writing its first row must not harm its server.
my $refused = $pair->database('refused');
$refused->source_sql('CREATE TABLE t (id int PRIMARY KEY)');
$refused->start;
$refused->wait_stage('streaming');
$refused->pause;
$refused->wait_state('paused');
$refused->poll(sub { !coordinators() });
my $checkpointer = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
my $before       = $target->safe_psql('postgres', $checkpointer);
$refused->target_sql(<<'SQL');
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE OF dsm_handle ON livemigrate.migration FOR EACH ROW
    WHEN (NEW.dsm_handle <> 0) EXECUTE FUNCTION refuse();
SQL
$refused->resume;
ok($refused->poll(sub { $target->log_contains('ERROR:  refused') }), 'a coordinator fails at once');
$refused->target_sql('DROP TRIGGER refuse ON livemigrate.migration');
ok($refused->poll(sub { $refused->target_sql('SELECT count(*) FROM livemigrate.workers') > 1 }), 'and is started again');
is($target->safe_psql('postgres', $checkpointer), $before, 'its server has not crashed');
$refused->finish('refused');

done_testing();
