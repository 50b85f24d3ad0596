# X09, R06: the connection is lost in the middle of a large transaction, again and again, while
# its beginning is already being written. It must be applied once, whole, and apply must go on.
# Takes long.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my ($source, $target) = ($pair->source, $pair->target);

for my $plugin (qw(pgoutput wal2json)) {
    my $one = $pair->database("lost_$plugin");
    $one->source_sql(<<'SQL');
CREATE TABLE large (id int PRIMARY KEY, v text);
CREATE TABLE small (id int PRIMARY KEY, n int);
INSERT INTO small VALUES (1, 0);
SQL
    $one->start(plugin => $plugin);
    $one->wait_stage('streaming');

    # Apply is held by a lock, so that the transaction surely is under way when the walsender goes.
    my $lock = $one->lock_table($target, 'large');
    $one->source_sql('UPDATE small SET n = 1');
    $one->source_sql(
        "INSERT INTO large SELECT g, repeat('x', 300) FROM generate_series(1, 30000) g");
    $one->source_sql('UPDATE small SET n = 2');
    $one->wait_blocked($target);
    $one->source_sql('SELECT pg_terminate_backend(pid) FROM pg_stat_replication');
    $one->end_session($lock);

    # And without help, wherever it is by then.
    for my $round (1 .. 3) {
        $one->source_sql("UPDATE large SET v = v || '$round'");
        $one->poll(
            sub {
                return $one->source_sql('SELECT count(*) FROM pg_stat_replication '
                        . "WHERE state = 'streaming'") > 0;
            });
        $one->source_sql('SELECT pg_terminate_backend(pid) FROM pg_stat_replication');
        if ($round == 2) {
            $one->kill_worker('receiver');
            $one->wait_for_connections($target);
        }
        $one->source_sql("UPDATE small SET n = n + 10");
    }
    ok($one->poll(sub { $one->target_sql('SELECT n FROM small') eq '32' }),
        "X09 $plugin: the transactions behind it arrive")
        or $one->diagnose('arrive');
    $one->finish("X09 $plugin: connection lost inside a large transaction");
}

# The same with certainty that what was written of a transaction must be taken back: the spool ends
# inside it, and its beginning fills several batches.
my $half = $pair->database('half');
$half->source_sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
$half->start;
$half->wait_stage('streaming');
my $killer = $half->session($source);
for my $round (1 .. 3) {
    $half->source_sql(
        "INSERT INTO t SELECT g, repeat('y', 400) FROM generate_series(${round}00001, ${round}60000) g"
    );
    $half->poll(
        sub {
            my $sent = $half->source_sql(
                      'SELECT sent_lsn IS NOT NULL FROM pg_stat_replication '
                    . "WHERE application_name = 'livemigrate'");
            return $sent eq 't';
        });
    $half->source_sql('SELECT pg_terminate_backend(pid) FROM pg_stat_replication');
}
$half->end_session($killer);
ok($half->poll(sub { $half->target_sql('SELECT count(*) FROM t') eq '180000' }),
    'X09 three interrupted transactions arrive whole')
    or $half->diagnose('half');
$half->finish('X09 five interrupted transactions');

done_testing();
