# Rows of a table that an extension may watch over come by COPY as a statement, which reads them through the C
# library's standard input.  What ends the reading, a lost connection or a pause, comes out of it as it is.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new(dbname => 'unused');
my ($source, $target) = ($pair->source, $pair->target);

# The copy worker stands at row 10000 until the lock that the returned session has is free.
sub copy_held {
    my ($one) = @_;
    $one->source_sql(q{CREATE TABLE watched (id int PRIMARY KEY, v text);
        INSERT INTO watched SELECT g, repeat(md5(g::text), 20) FROM generate_series(1, 20000) g});
    $one->start(pause_after => ['schema'], table_jobs => 1);
    $one->wait_stage('schema');
    $one->wait_state('paused');
    $one->target_sql(<<'SQL');
CREATE FUNCTION public.hold() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
    IF NEW.id = 10000 THEN PERFORM pg_catalog.pg_advisory_xact_lock_shared(9); END IF;
    RETURN NEW;
END$$;
CREATE TRIGGER hold BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION public.hold();
ALTER TABLE watched ENABLE ALWAYS TRIGGER hold;
ALTER TRIGGER hold ON watched DEPENDS ON EXTENSION plpgsql;
SQL
    my $lock = $one->session($target, 'SELECT pg_advisory_lock(9)');
    $one->resume([]);
    ok($one->poll(sub { waits($one, 'advisory') }), $one->dbname . ': the copy is under way') or $one->diagnose('copy');
    return $lock;
}

sub waits {
    my ($one, $event) = @_;
    return $one->target_sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND backend_type = 'livemigrate copy worker' AND wait_event = '$event'") eq '1';
}

sub copying_backend {
    my ($one) = @_;
    return $one->source_sql("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query ~ '^COPY .*watched'");
}

sub finish {
    my ($one, $label) = @_;
    $one->wait_stage('streaming');
    is($one->target_sql('SELECT count(*), sum(id) FROM watched'), '20000|200010000', "$label: each row once");
    $one->target_sql('DROP TRIGGER hold ON watched; DROP FUNCTION hold');
    $one->finish($label);
}

my $lost = $pair->database('lost');
my $lock = copy_held($lost);
$lost->source_sql('SELECT pg_terminate_backend(' . copying_backend($lost) . ')');
$lost->end_session($lock);
finish($lost, 'a lost connection');
like($lost->target_sql("SELECT string_agg(concat_ws(' ', message, detail), ' ') FROM livemigrate.events WHERE severity <> 'info'"),
    qr/lost the connection to the source during COPY|terminating connection due to administrator command/,
    'it is told what has ended the copy');

my $paused = $pair->database('paused');
$lock = copy_held($paused);
my $backend = copying_backend($paused);
kill 'STOP', $backend;
$paused->end_session($lock);
ok($paused->poll(sub { waits($paused, 'Extension') }), 'the copy waits for the source');
$paused->call('migration_pause');
$paused->wait_state('paused');
kill 'CONT', $backend;
$paused->resume;
finish($paused, 'a pause');

$pair->assert_nothing_left('nothing left');
done_testing();
