# A statement on an index that ends its worker, and the refresh of a materialized view that takes the
# server down, are not repeated for ever.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new(target_conf => "livemigrate.copy_attempts = 2\n");
my ($source, $target) = ($pair->source, $pair->target);

my $one = $pair->database('jobs');
$one->source_sql(<<'SQL');
CREATE FUNCTION f(i int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT i';
CREATE FUNCTION g(i bigint) RETURNS bigint LANGUAGE sql AS 'SELECT i';
CREATE TABLE t (id int PRIMARY KEY, n int);
INSERT INTO t SELECT i, i FROM generate_series(1, 100) i;
CREATE INDEX t_f ON t (f(n));
CREATE INDEX t_n ON t (n);
CREATE MATERIALIZED VIEW bad AS SELECT g(count(*)) FROM t;
CREATE MATERIALIZED VIEW good AS SELECT count(*) FROM t;
SQL
$one->start(pause_after => ['data'], index_jobs => 1);
$one->wait_stage('data');
$one->wait_state('paused');

# What the source's functions do here: nothing, or end the process.
sub functions_do {
    my ($body) = @_;
    $one->target_sql(<<"SQL");
CREATE SCHEMA IF NOT EXISTS aside;
CREATE SEQUENCE IF NOT EXISTS aside.calls;
CREATE TABLE IF NOT EXISTS aside.gate (open boolean);
CREATE OR REPLACE FUNCTION aside.act() RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN $body END \$\$;
CREATE OR REPLACE FUNCTION public.f(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS \$\$
    BEGIN PERFORM aside.act(); RETURN i; END \$\$;
CREATE OR REPLACE FUNCTION public.g(i bigint) RETURNS bigint LANGUAGE plpgsql AS \$\$
    BEGIN PERFORM aside.act(); RETURN i; END \$\$;
SQL
}

# --- an index that ends its worker
functions_do("PERFORM nextval('aside.calls'); PERFORM pg_terminate_backend(pg_backend_pid());");
$one->resume([]);
$one->wait_state('failed');
my $status = $one->status_row;
like($status->{message},
    qr/^index "t_f" on "public"\."t" could not be completed in 2 attempts: the index worker ended unexpectedly$/,
    'the error names the index and how often it was tried');
like($status->{hint}, qr/migration_resume/, 'and what to do');
is($one->target_sql('SELECT last_value FROM aside.calls'), '2', 'there were no more attempts');
is($one->target_sql("SELECT count(*) FROM livemigrate.events WHERE severity = 'warning'
        AND message ~ '\"t_f\" .* could not be completed: the index worker' AND detail ~ 'Attempt 1 of 2'"),
    '1', 'the one before is told');

# --- it goes on when the cause is gone; a pause is no attempt
functions_do('');
my $lock = $one->lock_table($target, 't');
$one->resume;
$one->wait_blocked($target);
for (1 .. 3) {
    $one->pause;
    $one->wait_state('paused');
    $one->resume;
    $one->wait_blocked($target);
}
is($one->target_sql('SELECT max(attempts) FROM livemigrate.schema_job'), '1', 'nor are three');
$one->end_session($lock);
$one->wait_stage('streaming');
is($one->target_sql("SELECT count(*) FROM pg_indexes WHERE tablename = 't'"), '3', 'all indexes are there');

# --- a refresh that takes the server down
functions_do(q{PERFORM nextval('aside.calls');
    EXECUTE format('COPY aside.gate FROM PROGRAM %L', 'kill -9 ' || pg_backend_pid());});
$one->set_endpos;
$one->poll(
    sub {
        my ($rc, $state) = $target->psql('jobs', 'SELECT state FROM livemigrate.migrations');
        return $rc == 0 && $state eq 'done';
    }) or $one->diagnose('the refresh');
is($one->target_sql('SELECT state FROM livemigrate.migrations'), 'done', 'the migration comes to its end');
like($one->target_sql("SELECT string_agg(message, E'\\n') FROM livemigrate.events WHERE severity = 'warning'"),
    qr/^materialized view "public"\."bad" could not be refreshed in 2 attempts: the server crashed meanwhile; to try again: REFRESH MATERIALIZED VIEW "public"\."bad";/m,
    'with a warning');
is($one->target_sql("SELECT string_agg(matviewname, ' ') FROM pg_matviews WHERE ispopulated"), 'good', 'the other one is there');
is($one->target_sql("SELECT string_agg(state, ' ') FROM livemigrate.index_progress WHERE table_name = 'bad'"),
    'skipped', 'it is shown as skipped');
$one->target_sql('DROP SCHEMA aside CASCADE');
$one->cleanup;

done_testing();
