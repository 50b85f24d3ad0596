# A name of the source leads to something else than it did a moment ago: a table is replaced by one of
# its name, or rewritten (C01, C02, C03), while the slot or a new snapshot is being made, its schema
# while the tables wait for their copy; and somebody else takes the names of the slot or publication
# first.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Snapshot qw(open_before_snapshot);
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

# A transaction that holds its tables while the snapshot is taken, and commits when these are to be locked.
sub replace_under_snapshot {
    my ($one, $label, $begin, $sql, $besides) = @_;
    my $end = sub { };
    my $holder = open_before_snapshot($one, $label, $begin, sub {
        my $session = $one->session($source, "BEGIN; $sql");
        $end = $besides->() if $besides;
        return $session;
    });
    waits_for($one, 'relation', "$label: the snapshot is there, its locks are waited for");
    $holder->query_safe('COMMIT');
    $one->end_session($holder);
    $end->();
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

# --- a table is rewritten meanwhile: its rows are in another file now, which looks empty to the snapshot
my $tables = <<'SQL';
CREATE TABLE w (id int PRIMARY KEY);
CREATE TABLE altered (id int PRIMARY KEY, v int); INSERT INTO altered SELECT g, g FROM generate_series(1, 1000) g;
CREATE TABLE emptied (id int PRIMARY KEY); INSERT INTO emptied SELECT generate_series(1, 1000);
CREATE FUNCTION waits(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
    $$BEGIN PERFORM pg_catalog.pg_advisory_xact_lock_shared(170); RETURN $1; END$$;
CREATE TABLE packed (id int PRIMARY KEY); CREATE INDEX packed_waits ON packed (waits(id));
INSERT INTO packed SELECT generate_series(1, 1000); DELETE FROM packed WHERE id % 2 = 0;
SQL
my %rewrite = (
    'ALTER TYPE'  => 'ALTER TABLE altered ALTER v TYPE int USING v + 1',
    'TRUNCATE'    => 'TRUNCATE emptied; INSERT INTO emptied VALUES (7), (2000)',
    'VACUUM FULL' => '');

# VACUUM FULL, which waits at its end for what is returned.
sub vacuum {
    my ($one) = @_;
    my $gate   = $one->session($source, 'SELECT pg_advisory_lock(170)');
    my $vacuum = $one->session($source);
    $vacuum->query_until(qr/sent/, "\\echo sent\nVACUUM FULL packed;\n");
    ok($one->poll(sub { $one->source_sql("SELECT count(*) FROM pg_stat_activity
            WHERE query ~ '^VACUUM FULL' AND wait_event = 'advisory'") == 1 }), 'VACUUM FULL waits');
    return sub { $one->end_session($_) for $gate, $vacuum };
}

sub rewrite_under_snapshot {
    my ($one, $sql, $begin) = @_;
    my $name = $one->name;
    replace_under_snapshot($one, $name, $begin, $sql, $sql eq '' ? sub { vacuum($one) } : undef);
    $one->wait_stage('streaming');
    is($one->target_sql("SELECT count(*) FROM livemigrate.events WHERE severity = 'warning' AND message ~
        '^table .* was rewritten on the source while the snapshot was being taken\$'"), '1', "$name: it is noticed");
    $one->source_sql('INSERT INTO emptied VALUES (3000); UPDATE altered SET v = 0 WHERE id < 10; DELETE FROM packed WHERE id = 1');
    $one->set_endpos;
    $one->wait_stage('done');
    $one->assert_equal_tables("$name: equal tables");
    $one->cleanup;
}

for my $what (sort keys %rewrite) {
    my $begun = $pair->database(lc "slot_$what" =~ tr/ /_/r);
    $begun->source_sql($tables);
    $begun->start(pause_after => ['preflight']);
    $begun->wait_state('paused');
    rewrite_under_snapshot($begun, $rewrite{$what}, sub { $begun->resume([]) });
}
# One restart for all of them.
my %again = map { $_ => $pair->database(lc "again_$_" =~ tr/ /_/r) } sort keys %rewrite;
for my $one (map { $again{$_} } sort keys %again) {
    $one->source_sql($tables);
    $one->start(pause_after => ['schema']);
    $one->wait_state('paused');
}
$target->restart;
for my $what (sort keys %again) {
    my $one = $again{$what};
    rewrite_under_snapshot($one, $rewrite{$what}, sub { $one->resume([]) });
}
$pair->assert_nothing_left('nothing left of any of them');

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
