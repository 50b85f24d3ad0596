# Foreign keys between tables that were copied under different snapshots wait until apply has brought all of
# them to one moment, however near the end of the stream that is.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my ($source, $target) = ($pair->source, $pair->target);
$pair->source_sql(<<'SQL');
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent);
INSERT INTO parent SELECT generate_series(1, 10);
INSERT INTO child SELECT g, g FROM generate_series(1, 10) g;
SQL
$pair->start(pause_after => ['schema'], table_jobs => 2);
$pair->wait_state('paused');
my $copying = $pair->lock_table($target, 'child');
$pair->resume([]);
$pair->wait_blocked($target);
ok($pair->poll(sub { $pair->target_sql("SELECT count(*) FROM pg_index WHERE indrelid = 'parent'::regclass") == 1 }),
    'one table is copied under the first snapshot');
my $receiver = $pair->worker_pid('receiver');
kill 'STOP', $receiver;
$pair->source_sql('INSERT INTO parent VALUES (11); INSERT INTO child VALUES (11, 11)');
$source->stop('immediate');
$source->start;
ok($pair->poll(sub { $pair->target_sql("SELECT count(*) FROM livemigrate.events
        WHERE message ~ 'a new snapshot was taken'") == 1 }), 'the other one under a second');
$pair->end_session($copying);
$pair->wait_stage('indexes');
my $apply = $pair->worker_pid('apply');
ok($pair->poll(sub { $pair->status_row->{message} =~ /^applying buffered changes/ }),
    'what was written between the two has yet to come') or $pair->diagnose('while nothing comes');
is($pair->target_sql('SELECT array_agg(id) FROM child WHERE id > 10'), '{11}', 'a row is there');
is($pair->target_sql('SELECT array_agg(id) FROM parent WHERE id > 10'), '', 'and not the one that it refers to');
is($pair->status_row->{stage}, 'catchup', 'foreign keys wait for that');
kill 'CONT', $receiver;
$pair->wait_stage('streaming');
is($pair->target_sql("SELECT count(*) FROM pg_constraint WHERE conrelid = 'child'::regclass
        AND contype = 'f' AND convalidated"), '1',
    'the foreign key is valid');
$pair->finish('tables of two snapshots');

done_testing();
