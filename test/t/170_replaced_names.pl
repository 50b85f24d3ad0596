# A name of the source leads to something else than it did a moment ago: a table is replaced by one of
# its name while the slot or a new snapshot is being made, its schema while the tables wait for their
# copy; and somebody else takes the names of the slot or publication first.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my ($source, $target) = ($pair->source, $pair->target);

# True when a session of livemigrate on the source waits for a lock of this type.
sub waits_for {
    my ($one, $type, $what) = @_;
    ok($one->poll(sub { $one->source_sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
            AND application_name = 'livemigrate' AND wait_event_type = 'Lock' AND wait_event = '$type'") > 0 }), $what)
      or $one->diagnose($what);
}

# Keeps the making of a slot waiting (`begin` starts that) until a transaction is open of which the
# slot's snapshot sees nothing, and which it does not wait for: it begins in the last of the waits.
sub replace_under_snapshot {
    my ($one, $label, $begin, $sql) = @_;
    my $first = $one->session($source, 'BEGIN; INSERT INTO w VALUES (1)');
    $begin->();
    my $waiting = sub {
        my ($pid) = @_;
        ok($one->poll(sub { $one->source_sql("SELECT count(*) FROM pg_stat_activity
                WHERE backend_type = 'walsender' AND $pid = ANY (pg_blocking_pids(pid))") > 0 }),
            "$label: the slot waits");
    };
    $waiting->($first->query('SELECT pg_backend_pid()'));
    my $second = $one->session($source, 'BEGIN; INSERT INTO w VALUES (2)');
    my $pid    = $second->query('SELECT pg_backend_pid()');
    $first->query_safe('COMMIT');
    $waiting->($pid);
    my $third = $one->session($source, "BEGIN; $sql");
    $second->query_safe('COMMIT');
    waits_for($one, 'relation', "$label: the snapshot is there, its locks are waited for");
    $third->query_safe('COMMIT');
    $one->end_session($_) for $first, $second, $third;
}

my $swap = <<'SQL';
ALTER TABLE t RENAME TO t_old; CREATE TABLE t (LIKE t_old INCLUDING ALL); INSERT INTO t SELECT generate_series(1, 7);
SQL

sub make_tables {
    my ($one) = @_;
    $one->source_sql('CREATE TABLE w (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY);'
          . 'INSERT INTO t SELECT generate_series(1, 1000)');
}

# --- while the slot is made: with both tables, under another snapshot
my $slot = $pair->database('slot');
make_tables($slot);
$slot->start(pause_after => ['preflight']); # which makes a slot, too
$slot->wait_state('paused');
replace_under_snapshot($slot, 'slot', sub { $slot->resume([]) }, $swap);
$slot->wait_stage('streaming');
$slot->source_sql('INSERT INTO t VALUES (8); DELETE FROM t_old WHERE id = 1');
$slot->finish('a table replaced while the slot was made');
is($slot->target_sql('SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM t_old)'), '8|999', 'slot: all rows are there');

# --- while a new snapshot is taken: the slot's publication has the old one
my $anew = $pair->database('anew');
make_tables($anew);
$anew->start(pause_after => ['schema']);
$anew->wait_state('paused');
$target->restart;
replace_under_snapshot($anew, 'new snapshot', sub { $anew->resume([]) }, $swap);
$anew->wait_state('failed');
like($anew->status_row->{last_error}, qr/"t" was dropped, renamed or made anew on the source/,
    'new snapshot: a table that was replaced is not copied');
is($anew->target_sql('SELECT count(*) FROM t'), '0', 'new snapshot: no row of the other one is');
$anew->source_sql('DROP TABLE t; ALTER TABLE t_old RENAME TO t');
$anew->resume;
$anew->wait_stage('streaming');
$anew->finish('new snapshot: with its name again');

# --- its schema, which no lock on the table keeps from being renamed
my $schema = $pair->database('schema');
$schema->source_sql('CREATE SCHEMA s; CREATE TABLE s.t (id int PRIMARY KEY); INSERT INTO s.t SELECT generate_series(1, 1000)');
$schema->start(pause_after => ['schema']);
$schema->wait_state('paused');
$schema->source_sql('ALTER SCHEMA s RENAME TO s_old; CREATE SCHEMA s; CREATE TABLE s.t (LIKE s_old.t INCLUDING ALL);'
      . 'INSERT INTO s.t VALUES (1)');
$schema->resume([]);
$schema->wait_state('failed');
like($schema->status_row->{last_error}, qr/"t" was dropped, renamed or made anew on the source/,
    'a table in another schema of the name is not copied');
is($schema->target_sql("SELECT count(*) FROM livemigrate.events WHERE message ~ 'snapshot is of no use any more'"),
    '1', 'its copy asked for a new snapshot');
is($schema->target_sql('SELECT count(*) FROM s.t'), '0', 'no row of it is');
$schema->source_sql('DROP SCHEMA s CASCADE; ALTER SCHEMA s_old RENAME TO s');
$schema->resume;
$schema->wait_stage('streaming');
$schema->finish('a schema with its name again');

# --- who comes second makes no slot, and leaves the other's alone, whatever is called next
my $second = $pair->database('second');
$second->source_sql('CREATE TABLE t (id int PRIMARY KEY)');
my $lock = $second->lock_table($source, 't', 'SHARE UPDATE EXCLUSIVE');
$second->start;
waits_for($second, 'relation', 'the publication waits for a lock');
$second->source_sql("SELECT pg_create_physical_replication_slot('livemigrate_second')");
$second->end_session($lock);
for my $call (qw(resume abort)) {
    $second->wait_state('failed');
    like($second->status_row->{last_error}, qr/replication slot "livemigrate_second".* already exists|slot "livemigrate_second" exists/,
        "the slot's name is taken before $call");
    is($second->source_sql('SELECT count(*) FROM pg_publication'), '0', 'the publication that was made is gone');
    $second->$call;
}
$second->cleanup;
is($second->source_sql("SELECT pg_drop_replication_slot(slot_name) IS NULL FROM pg_replication_slots
    WHERE slot_name = 'livemigrate_second'"), 'f', 'the slot of the other is there');

done_testing();
