# A part that fails is repeated alone, a bounded number of times and later each time, while the other
# parts go on; then its error is permanent and migration_resume copies what is missing.  What it dies
# of with its worker, or the server, counts; a pause, a shutdown and a lost source do not.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new(target_conf => "livemigrate.copy_attempts = 4\n");
my ($source, $target) = ($pair->source, $pair->target);

# `bad` is the largest, so copied first, and a trigger on the target does as told at one of its rows.
sub paused_before_data {
    my ($dbname, $body, %start) = @_;
    my $one = $pair->database($dbname);
    $one->source_sql('CREATE TABLE bad (id int PRIMARY KEY, filler text);
        INSERT INTO bad SELECT g, repeat(md5(g::text), 10) FROM generate_series(1, 12000) g');
    $one->source_sql("CREATE TABLE good_$_ (id int PRIMARY KEY, filler text);
        INSERT INTO good_$_ SELECT g, repeat(md5(g::text), 10) FROM generate_series(1, 4000) g")
      for 1 .. 3;
    $one->start(
        pause_after              => ['schema'],
        table_jobs               => 1,
        split_tables_larger_than => '2 MB',
        %start);
    $one->wait_stage('schema');
    $one->wait_state('paused');
    $one->target_sql(<<"SQL");
CREATE SCHEMA aside;
CREATE SEQUENCE aside.calls;
CREATE TABLE aside.gate (open boolean NOT NULL DEFAULT false);
CREATE FUNCTION aside.act() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN $body RETURN NEW; END \$\$;
CREATE TRIGGER act BEFORE INSERT ON bad FOR EACH ROW WHEN (NEW.id = 11990)
    EXECUTE FUNCTION aside.act();
ALTER TABLE bad ENABLE ALWAYS TRIGGER act;
SQL
    return $one;
}

sub progress {
    my ($one, $what) = @_;
    return $one->target_sql(
        "SELECT $what FROM livemigrate.table_progress WHERE table_name = 'bad'");
}

my $complete = "SELECT string_agg(table_name, ' ' ORDER BY table_name)
    FROM livemigrate.table_copy WHERE state = 'done'";

sub goes_on {
    my ($one, $label) = @_;
    $one->target_sql('DROP SCHEMA aside CASCADE');
    $one->resume(['data']);
    $one->wait_stage('data');
    is($one->target_sql("SELECT (SELECT count(*) FROM bad) || ' ' || string_agg(attempts || coalesce(error, ''), ' ')
            FROM livemigrate.table_progress"), '12000 0 0 0 0', "$label: it goes on, and counts anew");
    $one->abort;
}

# --- an error that passes by itself, but does not: the others are copied meanwhile. Before the fourth
# attempt there are some four seconds to look at it.
my $always = paused_before_data('always',
    "PERFORM nextval('aside.calls'); RAISE serialization_failure USING MESSAGE = 'not now';");
$always->resume(['data']);
ok( $always->poll(sub { $always->target_sql("SELECT state = 'retrying' AND attempts = 3 AND
        message ~ 'table \"public\"\\.\"bad\" could not be copied: not now'
        FROM livemigrate.migration_status()") eq 't' }),
    'when only the part is left, the status has its error and the attempts');
is($always->target_sql($complete), 'good_1 good_2 good_3', 'all others were copied before that');
$always->wait_state('failed');
my $status = $always->status_row;
like($status->{message},
    qr/^table "public"\."bad" could not be copied in 4 attempts: not now$/,
    'the error names the table and the last error');
like($status->{hint}, qr/migration_resume/, 'and what to do');
is(progress($always, 'attempts'), '4', 'table_progress tells the attempts');
is($always->target_sql("SELECT last_value FROM aside.calls"), '4', 'there were no more');
my $warnings = "SELECT count(*) FROM livemigrate.events
    WHERE severity = 'warning' AND message ~ 'bad.*not now' AND detail ~ 'Attempt . of 4; the next'";
is($always->target_sql($warnings), '3', 'the events tell of those before the last');
is(progress($always, 'parts - parts_done'), '1', 'only one part is missing');
goes_on($always, 'after the permanent error');
$target->append_conf('postgresql.conf', "livemigrate.copy_attempts = 3\n");
$target->restart;

# --- one that passes
my $passing = paused_before_data('passing', <<'SQL');
IF nextval('aside.calls') <= 2 THEN RAISE deadlock_detected; END IF;
SQL
$passing->resume(['data']);
$passing->wait_stage('data');
is(progress($passing, "state || attempts || coalesce(error, '')"),
    'done2', 'the third attempt succeeds, without anybody');
$passing->abort;

# --- a worker that ends in it, and a server that crashes in it
my $fatal = paused_before_data('fatal',
    "PERFORM nextval('aside.calls'); PERFORM pg_terminate_backend(pg_backend_pid());");
$fatal->resume(['data']);
$fatal->wait_state('failed');
like($fatal->status_row->{message},
    qr/"bad" could not be copied in 3 attempts: the copy worker ended unexpectedly/,
    'a part that ends its worker is not repeated for ever');
is($fatal->target_sql($complete), 'good_1 good_2 good_3', 'and the others are copied');
goes_on($fatal, 'after workers that ended');

my $crash = paused_before_data('crash',
    q{EXECUTE format('COPY aside.gate FROM PROGRAM %L', 'kill -9 ' || pg_backend_pid());});
$crash->resume(['data']);
$crash->poll(
    sub {
        my ($rc, $state) = $target->psql('crash', "SELECT state FROM livemigrate.migrations");
        return $rc == 0 && $state eq 'failed';
    }) or $crash->diagnose('crash');
like($crash->status_row->{message},
    qr/"bad" could not be copied in 3 attempts: the server crashed meanwhile/,
    'a part that takes the server down is not repeated for ever');
is($crash->target_sql($complete), 'good_1 good_2 good_3', 'and the others are copied');
goes_on($crash, 'after crashes');

# --- no fault of the part: more often than the limit
my $held = paused_before_data('held', <<'SQL');
WHILE NOT EXISTS (SELECT FROM aside.gate WHERE open) LOOP PERFORM pg_sleep(0.02); END LOOP;
SQL
$held->resume(['data']);

sub wait_held {
    my ($one) = @_;
    my $dbname = $one->dbname;
    ok( $one->poll(
            sub {
                my ($rc, $out) = $target->psql($dbname, "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = '$dbname' AND backend_type ~ 'copy' AND wait_event = 'PgSleep'");
                return $rc == 0 && $out eq '1';
            }),
        'the part is at its gate') or $one->diagnose($dbname), die "the part is not at its gate\n";
}

wait_held($held);
$held->pause;
$held->wait_state('paused');
$held->resume;
for my $what (qw(sessions sessions restart sessions restart)) {
    wait_held($held);
    if ($what eq 'restart') {
        $target->restart;
    } else {
        my $worker = $held->worker_pid('copy');
        $held->source_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE application_name = 'livemigrate' AND datname = 'held'");
        ok( $held->poll(sub { $held->target_sql("SELECT count(*) FROM pg_stat_activity
                WHERE datname = 'held' AND backend_type ~ 'copy' AND pid = $worker") eq '0' }), 'the copy ends');
    }
    $held->wait_for_connections($target);
}
wait_held($held);
is(progress($held, "attempts || coalesce(error, '')"), '0', 'a pause, lost sessions and shutdowns are no attempts');
$held->target_sql('INSERT INTO aside.gate VALUES (true)');
$held->wait_stage('data');
$held->target_sql('DROP SCHEMA aside CASCADE');
$held->resume([]);
$held->wait_stage('streaming');
$held->finish('after all of this');

# --- one whose table is cut otherwise under another snapshot, now that no others are left: what was counted is counted
my $recut = paused_before_data('recut', <<'SQL', table_jobs => 2);
IF nextval('aside.calls') > 2 THEN
    WHILE NOT EXISTS (SELECT FROM aside.gate WHERE open) LOOP PERFORM pg_sleep(0.02); END LOOP;
END IF;
RAISE serialization_failure USING MESSAGE = 'not now';
SQL
$recut->resume(['data']);
wait_held($recut);
is($recut->target_sql($complete), 'good_1 good_2 good_3', 'cut otherwise: the others are copied');
is(progress($recut, 'parts'), '1', '... and the part is all of its table');
# C04: only the session that holds it is ended, the first. The copy's own has the snapshot still, and is of no use any more.
is($recut->source_sql("SELECT pg_terminate_backend(pid), state FROM pg_stat_activity WHERE application_name = 'livemigrate'
    AND datname = 'recut' AND backend_xmin IS NOT NULL AND backend_type = 'client backend' ORDER BY backend_start LIMIT 1"),
    't|idle in transaction', '... the snapshot is lost');
ok($recut->poll(sub { $recut->target_sql("SELECT count(*) FROM livemigrate.events WHERE message ~ 'a new snapshot was taken'") == 1 }),
    '... another snapshot');
$recut->target_sql('INSERT INTO aside.gate VALUES (true)');
$recut->wait_state('failed');
like($recut->status_row->{message}, qr/"bad" could not be copied in 3 attempts: not now/, '... it is not repeated for ever');
cmp_ok(progress($recut, 'parts'), '>', 1, '... in more parts than before');
cmp_ok($recut->target_sql('SELECT last_value FROM aside.calls'), '<', 6, '... of which each had its share of the attempts');
$recut->target_sql('DROP SCHEMA aside CASCADE');
$recut->resume([]);
$recut->wait_stage('streaming');
$recut->finish('after it was cut otherwise');

done_testing();
