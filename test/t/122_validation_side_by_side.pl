# Foreign keys are validated by several workers at a time: those of different tables side by side,
# those of one table one after the other, since VALIDATE CONSTRAINT locks the referencing table.  One
# that does not hold is named, and the others are valid all the same.
#
# A trigger on the target holds each validation at its end until the test lets it go.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair   = LiveMigrate::Test->new;
my $target = $pair->target;
$pair->source_sql(<<'SQL');
CREATE TABLE parent (id int PRIMARY KEY);
INSERT INTO parent SELECT generate_series(1, 100);
CREATE TABLE a (id int PRIMARY KEY, one int CONSTRAINT a_one REFERENCES parent,
    two int CONSTRAINT a_two REFERENCES parent, three int CONSTRAINT a_three REFERENCES parent);
CREATE TABLE b (id int PRIMARY KEY, one int CONSTRAINT b_one REFERENCES parent);
INSERT INTO a SELECT g, g, g, g FROM generate_series(1, 100) g;
INSERT INTO b SELECT g, g FROM generate_series(1, 100) g;
SQL
$pair->start(pause_after => ['data'], index_jobs => 3);
$pair->wait_stage('data');
$pair->wait_state('paused');
$pair->target_sql(<<'SQL');
CREATE FUNCTION hold() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
    IF EXISTS (SELECT FROM livemigrate.index_progress
        WHERE kind = 'validation' AND state = 'running') THEN
        PERFORM pg_advisory_xact_lock_shared(42);
    END IF;
END $$;
CREATE EVENT TRIGGER hold ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION hold();
SQL
my $gate = $pair->session($target, 'SELECT pg_advisory_lock(42)');
$pair->resume([]);

my $doing = q{SELECT string_agg(regexp_replace(w.what, '_\w+ on', ' on') || ' ' || COALESCE(a.wait_event, ''), ', '
        ORDER BY w.what)
    FROM livemigrate.workers w JOIN pg_stat_activity a USING (pid) WHERE w.kind = 'index'};
my $side_by_side = 'validation a on public.a advisory, validation b on public.b advisory, '
    . 'waiting for jobs of an earlier phase Extension';
ok($pair->poll(sub { $pair->target_sql($doing) eq $side_by_side }),
    'two tables are validated at a time, and no worker waits for the lock of a table')
    or diag $pair->target_sql($doing);
is( $pair->target_sql("SELECT string_agg(table_name || ' ' || state || ' ' || n, ', ')
        FROM (SELECT table_name, state, count(*) AS n FROM livemigrate.index_progress
            WHERE kind = 'validation' GROUP BY 1, 2 ORDER BY 1, 2) t"),
    'a pending 2, a running 1, b running 1', 'the other two of one table follow');
$pair->end_session($gate);
$pair->wait_stage('streaming');
is( $pair->target_sql("SELECT string_agg(conname, ' ' ORDER BY conname) FROM pg_constraint
        WHERE contype = 'f' AND convalidated AND conname ~ '^[ab]_'"),
    'a_one a_three a_two b_one', 'all are valid');
$pair->target_sql('DROP EVENT TRIGGER hold; DROP FUNCTION hold()');
$pair->finish('side by side');

# --- one that does not hold
my $one = $pair->database('broken');
$one->source_sql(<<'SQL');
CREATE TABLE parent (id int PRIMARY KEY);
INSERT INTO parent SELECT generate_series(1, 100);
SQL
$one->source_sql("CREATE TABLE $_ (id int PRIMARY KEY, ref int CONSTRAINT ${_}_ref REFERENCES parent);
    INSERT INTO $_ SELECT g, g FROM generate_series(1, 100) g") for qw(a b c);
$one->start(pause_after => ['data'], index_jobs => 2);
$one->wait_stage('data');
$one->wait_state('paused');
$one->target_sql('INSERT INTO b VALUES (101, 101)');
$one->resume([]);
$one->wait_state('failed');
my $status = $one->status_row;
is($status->{stage}, 'indexes', 'broken: it stops in the stage');
like($status->{last_error}, qr/violates foreign key constraint "b_ref"/, 'broken: with the constraint');
is( $one->target_sql("SELECT string_agg(object_name, ' ') FROM livemigrate.index_progress
        WHERE kind = 'validation' AND error ~ 'b_ref'"),
    'b_ref', 'broken: index_progress has the error at its constraint');
$one->target_sql('DELETE FROM b WHERE id = 101');
$one->resume([]);
$one->wait_stage('streaming');
is( $one->target_sql("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated
        AND connamespace = 'public'::regnamespace"), '3', 'broken: all are valid after a resume');
$one->finish('broken');
done_testing();
