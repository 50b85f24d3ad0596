# G14, R14, R15: with preload, a restart of the target finds migrations that have not ended.  Each
# coordinator is started under the bootstrap role by the launcher, looks, and either goes on or
# leaves; none of them may take the server down, and each migration is as it was.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use PostgreSQL::Test::Utils;
use Test::More;

my $pair = LiveMigrate::Test->new(dbname => 'running');
my ($source, $target) = ($pair->source, $pair->target);
my $running = $pair;
$running->{migration} = 'running';
my $paused = $pair->database('paused');
my $failed = $pair->database('failed');

for my $one ($running, $paused, $failed) {
    $one->source_sql('CREATE TABLE t (id int PRIMARY KEY, v int);
        INSERT INTO t SELECT g, g FROM generate_series(1, 1000) g');
}
$paused->start(pause_after => ['schema']);
$paused->wait_stage('schema');
$paused->wait_state('paused');
for my $one ($running, $failed) {
    $one->start;
    $one->wait_stage('streaming');
}
# A row that is missing on the target fails the migration.
$failed->target_sql('DELETE FROM t WHERE id = 7');
$failed->source_sql('UPDATE t SET v = -v WHERE id = 7');
$failed->wait_state('failed');

my @columns = qw(stage state message hint last_error slot_name snapshot_lsn endpos);

sub remembered {
    my ($one) = @_;
    my $row = $one->status_row;
    return { map { $_ => $row->{$_} } @columns };
}

sub assert_restart {
    my ($mode) = @_;
    my %before = map { $_->name => remembered($_) } $paused, $failed;
    my $offset = -s $target->logfile;
    $target->stop($mode);
    $target->start;
    ok( $running->poll(
            sub {
                my ($rc, $out) = $target->psql('running',
                    "SELECT count(*) FROM livemigrate.workers WHERE kind = 'apply'");
                return $rc == 0 && $out eq '1';
            }),
        "G14 stop $mode: the running migration goes on by itself");
    $running->source_sql('INSERT INTO t SELECT max(id) + 1, 0 FROM t');
    my $newest = $running->source_sql('SELECT max(id) FROM t');
    ok($running->poll(sub { $running->target_sql('SELECT max(id) FROM t') eq $newest }),
        "G14 stop $mode: and applies changes");
    ok( $running->poll(
            sub {
                $target->safe_psql('postgres',
                    "SELECT count(*) FROM pg_stat_activity WHERE datname IN ('paused', 'failed')
                        AND backend_type ~ 'livemigrate'"
                ) eq '0';
            }),
        "G14 stop $mode: the other coordinators leave");
    my $log = slurp_file($target->logfile, $offset);
    unlike($log, qr/terminated by signal/,    "R15 stop $mode: no process crashes");
    unlike($log, qr/PANIC|server process \(PID/, "R15 stop $mode: no crash restart");
    is_deeply(remembered($_), $before{ $_->name }, "G14 stop $mode: " . $_->name . ' is as it was')
      for $paused, $failed;
}

assert_restart($_) for qw(fast immediate);

# What the server does when a process of it dies by itself: all start again, without a new start of
# the postmaster.
my $offset = -s $target->logfile;
$running->kill_worker('coordinator');
$running->wait_for_connections($target);
ok( $running->poll(
        sub {
            my ($rc, $out) = $target->psql('running',
                "SELECT count(*) FROM livemigrate.workers WHERE kind = 'apply'");
            return $rc == 0 && $out eq '1';
        }),
    'R15 a crash restart: the running migration goes on by itself');
my @signals = slurp_file($target->logfile, $offset) =~ /terminated by signal/g;
is(scalar @signals, 1, 'R15 a crash restart: nothing crashes but what was killed');

# All of them can be brought to their end.
$failed->target_sql('INSERT INTO t VALUES (7, 7)');
$failed->resume;
$paused->resume([]);
for my $one ($running, $paused, $failed) {
    $one->wait_stage('streaming');
    $one->source_sql('INSERT INTO t SELECT max(id) + 1, 0 FROM t');
    $one->set_endpos;
    $one->wait_stage('done');
    $one->assert_equal_tables('G14 ' . $one->name . ': equal tables');
    $one->cleanup;
}
$running->assert_nothing_left('G14 nothing left');

done_testing();
