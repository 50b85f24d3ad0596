# The copy of several tables under load, some in page ranges, loses its sessions and its servers
# again and again: C04 the source's sessions end, R06 the source crashes, R01 the target crashes, and
# both at once.  Tables that were complete are not copied again, none has a row too many or too few.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my ($source, $target) = ($pair->source, $pair->target);
$pair->create_ledger;

# held_N is copied when gate N is open, and has most of its rows by then: a trigger on the target
# waits in front of one of its last rows.  held_1 and held_3 are copied in page ranges.
my $held = 4;
$pair->source_sql(join "\n", map { <<"SQL" } 1 .. $held);
CREATE TABLE held_$_ (id int PRIMARY KEY, done int NOT NULL REFERENCES ledger.account DEFERRABLE,
    v int NOT NULL DEFAULT 0, filler text NOT NULL);
INSERT INTO held_$_ SELECT g, 1 + g % 100, 0, repeat(md5(g::text), CASE WHEN $_ % 2 = 1 THEN 8 ELSE 1 END)
    FROM generate_series(1, 20000) g;
SQL
my $gates = <<'SQL' . join "\n", map { <<"SQL" } 1 .. $held;
CREATE SCHEMA gates;
CREATE TABLE gates.gate (n int PRIMARY KEY, open boolean NOT NULL DEFAULT false);
INSERT INTO gates.gate SELECT generate_series(1, 4);
CREATE FUNCTION gates.pass() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WHILE NOT (SELECT open FROM gates.gate WHERE n = TG_ARGV[0]::int) LOOP
        PERFORM pg_sleep(0.02);
    END LOOP;
    RETURN NEW;
END $$;
SQL
CREATE TRIGGER pass BEFORE INSERT ON held_$_ FOR EACH ROW WHEN (NEW.id = 19000)
    EXECUTE FUNCTION gates.pass($_);
ALTER TABLE held_$_ ENABLE ALWAYS TRIGGER pass;
SQL

sub target_value {
    my ($sql) = @_;
    my ($rc, $out) = $target->psql('app', $sql, timeout => 120);
    return $rc == 0 ? $out : '';
}

# Tables that are complete, when they became so, and the file their rows are in.
sub complete_tables {
    my %complete = map { split / => /, $_, 2 } split /\n/, target_value(<<'SQL');
SELECT format('%s.%s => %s of %s', t.schema_name, t.table_name, t.finished_at,
    pg_relation_filenode(format('%I.%I', t.schema_name, t.table_name)::regclass))
FROM livemigrate.table_copy t WHERE t.state = 'done' AND t.copy_data
SQL
    return \%complete;
}

# All that are not held are complete, and those held wait at their gates.
sub wait_held {
    my ($closed, $label) = @_;
    my $open    = 5 + $held - $closed;
    my $settled = sub {
        return target_value('SELECT count(*) FROM livemigrate.table_copy WHERE state = \'done\'') eq
          $open &&
          target_value("SELECT count(*) FROM pg_stat_activity
              WHERE backend_type ~ 'livemigrate' AND wait_event = 'PgSleep'") eq $closed;
    };
    ok($pair->poll($settled), "$label: $open tables are complete, $closed are half copied") or
        $pair->diagnose($label), BAIL_OUT($label);
}

# The row at the gate stays where it is, before the last ones.
sub start_load {
    $pair->start_load(
        rate   => 60,
        script => join ' ', 'SELECT ledger.work();',
        map {"UPDATE held_$_ SET v = v + 1 WHERE id = 1 + floor(random() * 18000);"} 1 .. $held);
}

sub stop_source {
    $pair->stop_background(delete $pair->{load});
    $source->stop('immediate');
}

start_load();
$pair->start(
    pause_after              => ['schema'],
    table_jobs               => 8,
    split_tables_larger_than => '2 MB');
$pair->wait_stage('schema');
$pair->wait_state('paused');
$pair->target_sql($gates);
$pair->resume(['data']);
wait_held($held, 'at first');
my %parts = map { split /\|/ } split /\n/, $pair->target_sql(
    "SELECT table_name, parts FROM livemigrate.table_progress WHERE table_name ~ 'held'");
cmp_ok($parts{held_1}, '>', 1, 'a held table is copied in parts');
is($parts{held_2}, 1, 'another one as a whole');
is($pair->target_sql("SELECT string_agg(table_name || ' ' || rows_done, ', ') FROM livemigrate.table_progress
    WHERE table_name ~ 'held' AND (rows_done NOT BETWEEN 1 AND 19999 OR bytes_done = 0)"),
    '', 'their rows count while they are copied');
my $eta = q{SELECT eta > '0' AND abs(extract(epoch FROM eta) * copy_bytes_per_second / (bytes_total - bytes_done) - 1) < 0.01
    FROM livemigrate.migration_status()};
ok($pair->poll(sub { $pair->target_sql($eta) eq 't' }), 'eta is what is left at the present rate') or
    $pair->diagnose($pair->target_sql('SELECT eta, copy_bytes_per_second, bytes_total, bytes_done FROM livemigrate.migration_status()'));

my @cuts = (
    [   "C04 the source's sessions end",
        sub {
            $pair->source_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE application_name = 'livemigrate'");
        } ],
    [ 'R06 the source crashes', sub { stop_source(); $source->start; start_load() } ],
    [ 'R01 the target crashes', sub { $target->stop('immediate'); $target->start } ],
    [   'R01 R06 both crash',
        sub {
            stop_source();
            $target->stop('immediate');
            $target->start;
            $pair->wait_for_connections($target);
            $source->start;
            start_load();
        } ]);
my $closed    = $held;
my $new_snapshots = 0;
for my $cut (@cuts) {
    my ($label, $disturb) = @$cut;
    $pair->wait_for_load(10);

    # Copies are committed without waiting for the disk: a crash may lose the last of them, whole.  This
    # commit waits for it, and so for all before it.
    $pair->target_sql('UPDATE gates.gate SET open = open');
    my $before = complete_tables();
    $disturb->();
    $pair->wait_for_connections($target);
    $pair->wait_for_load(5);

    # The same tables are held again, under a new snapshot; then one of them is let go.
    $pair->poll(
        sub {
            $new_snapshots < target_value("SELECT count(*) FROM livemigrate.events
                WHERE message ~ 'new snapshot was taken'")
        }) or $pair->diagnose($label), BAIL_OUT("$label: no new snapshot");
    $new_snapshots = target_value("SELECT count(*) FROM livemigrate.events
        WHERE message ~ 'new snapshot was taken'");
    wait_held($closed, $label);
    is_deeply(complete_tables(), $before, "$label: complete tables are not copied again");
    $pair->target_sql("UPDATE gates.gate SET open = true WHERE n = $closed");
    $closed--;
    wait_held($closed, "$label, a gate opened") if $closed > 0;
}
$pair->wait_stage('data');
$pair->wait_state('paused');
note $pair->target_sql('SELECT at::time(1), severity, message FROM livemigrate.events ORDER BY id');
cmp_ok(
    $pair->target_sql('SELECT count(DISTINCT snapshot_lsn) FROM livemigrate.table_copy'),
    '>', $held, 'each of the held tables is of another snapshot');
$pair->target_sql('DROP SCHEMA gates CASCADE');

# While indexes are built, too; foreign keys wait until all tables are of one point in time.
my $lock = $pair->lock_table($target, 'ledger.document');
$pair->resume([]);
$pair->wait_blocked($target);
stop_source();
$target->stop('immediate');
$source->start;
$target->start;
$pair->end_session($lock);
$pair->wait_for_connections($target);
start_load();
$pair->wait_stage('streaming');
$pair->wait_for_load(20);
$pair->stop_load;
$pair->set_endpos;
$pair->wait_stage('done');
$pair->assert_ledger('target', 'the ledger holds after all of this');
is($pair->target_sql('SELECT * FROM livemigrate.compare_data() WHERE NOT equal'),
    '', 'compare_data finds no difference');
is( $pair->target_sql(
        'SELECT count(*) FILTER (WHERE convalidated), count(*) FROM pg_constraint
            WHERE contype = $$f$$ AND connamespace <> $$livemigrate$$::regnamespace'),
    '5|5', 'every foreign key is there and valid');
$pair->assert_equal_tables('equal tables');
$pair->cleanup;
$pair->assert_nothing_left('nothing left, of temporary slots either');

done_testing();
