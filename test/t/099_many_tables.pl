# Many small tables are claimed, copied and indexed many at a time: what fails among them is still
# the error of one table, told of once, and the figures that the status shows stay those of the
# tables, whoever is killed meanwhile.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $tables = 300;
my $pair   = LiveMigrate::Test->new(
    source_conf => "max_locks_per_transaction = 256\n",
    target_conf => "max_locks_per_transaction = 256\n");

sub create_tables {
    my ($one) = @_;
    $one->source_sql(<<"SQL");
DO \$\$ BEGIN
    FOR i IN 1 .. $tables LOOP
        EXECUTE format('CREATE TABLE t_%s (id int PRIMARY KEY, v text, before int)', i);
        EXECUTE format('INSERT INTO t_%s SELECT g, md5(g::text), CASE WHEN %s > 1 THEN g END
            FROM generate_series(1, %s) g', i, i, i % 7);
        EXECUTE format('CREATE INDEX ON t_%s (v)', i);
        EXECUTE format('COMMENT ON INDEX t_%s_v_idx IS %L', i, 'of table ' || i);
    END LOOP;
    FOR i IN 2 .. $tables LOOP
        EXECUTE format('ALTER TABLE t_%s ADD FOREIGN KEY (before) REFERENCES t_%s
            DEFERRABLE', i, CASE WHEN i % 7 <= (i - 1) % 7 THEN i - 1 ELSE i END);
    END LOOP;
END \$\$
SQL
    return;
}

# What the tables of tables and jobs add up to, against what is shown.
my $summed = q{SELECT concat_ws(' ', (SELECT count(*) FILTER (WHERE copy_data) FROM livemigrate.table_copy),
    (SELECT count(*) FILTER (WHERE copy_data AND state = 'done') FROM livemigrate.table_copy),
    (SELECT sum(bytes) FROM livemigrate.table_copy),
    (SELECT COALESCE(sum(bytes) FILTER (WHERE state = 'done'), 0) FROM livemigrate.table_copy),
    (SELECT sum(rows_done) FROM livemigrate.table_copy),
    (SELECT count(*) FROM livemigrate.schema_job WHERE phase < 20),
    (SELECT count(*) FROM livemigrate.schema_job WHERE phase < 20 AND state IN ('done', 'skipped')))};
my $shown = q{SELECT concat_ws(' ', tables_total, tables_done, bytes_total, bytes_done, rows_done,
    indexes_total, indexes_done) FROM livemigrate.migration_status()};

sub figures_are_true {
    my ($one, $label) = @_;
    is($one->target_sql($shown), $one->target_sql($summed), $label);
    return;
}

create_tables($pair);
$pair->start(pause_after => ['schema'], table_jobs => 2, index_jobs => 2);
$pair->wait_stage('schema');
$pair->wait_state('paused');
figures_are_true($pair, 'the figures before the copy');

# --- one of many that cannot be copied
$pair->target_sql('ALTER TABLE t_150 ADD CONSTRAINT not_two CHECK (id <> 2)');
$pair->resume(['data']);
$pair->wait_state('failed');
my $done = 'SELECT count(*) FROM livemigrate.table_progress WHERE state = %s';
is($pair->target_sql(sprintf $done, q{'done'}), $tables - 1, 'all other tables are copied');
is($pair->target_sql("SELECT string_agg(table_name, ' ') FROM livemigrate.table_progress
        WHERE error ~ 'not_two'"), 't_150', 'the error is that of its table');
is( $pair->target_sql("SELECT count(*) FROM livemigrate.events WHERE severity = 'error'
        AND message ~ 't_150'"),
    1, 'the events tell of it once');
is( $pair->target_sql("SELECT string_agg(message, E'\\n') FROM livemigrate.events
        WHERE severity = 'error' AND message !~ 't_150|^state is now'"),
    '', 'and of nothing else');
is( $pair->target_sql(q{SELECT count(*) FROM livemigrate.table_progress
        WHERE state = 'done' AND (started_at IS NULL OR finished_at < started_at)}),
    0, 'each has its times');
figures_are_true($pair, 'the figures of a failed copy');

# --- a coordinator that ended without a word
$pair->target_sql('ALTER TABLE t_150 DROP CONSTRAINT not_two');
$pair->resume(['data']);
$pair->wait_stage('data');
$pair->wait_state('paused');
is($pair->target_sql(sprintf $done, q{'done'}), $tables, 'the missing one follows');
figures_are_true($pair, 'the figures of a complete copy');
my $pid = $pair->target_sql("SELECT pid FROM livemigrate.workers WHERE kind = 'coordinator'");
$pair->kill_worker('coordinator', 'TERM') if $pid;
figures_are_true($pair, 'the figures without a coordinator');

# --- one of many indexes that cannot be built: the others are, and it is named
$pair->target_sql("INSERT INTO t_150 SELECT id, v FROM t_150 WHERE id = 1");
$pair->resume([]);
$pair->wait_state('failed');
like($pair->status_row->{last_error}, qr/t_150_pkey/, 'the error names the index');
$pair->target_sql('DELETE FROM t_150 WHERE ctid = (SELECT max(ctid) FROM t_150 WHERE id = 1)');
$pair->resume([]);
$pair->wait_stage('streaming');
figures_are_true($pair, 'the figures of all indexes');
is( $pair->target_sql("SELECT count(*) FROM pg_stat_user_tables WHERE schemaname = 'public'
        AND (analyze_count > 0 OR last_analyze IS NOT NULL)"),
    $tables, 'every table is analyzed');
is( $pair->target_sql("SELECT count(*) FROM pg_constraint WHERE contype = 'f'
        AND convalidated AND connamespace = 'public'::regnamespace"),
    $tables - 1, 'every foreign key is valid');
$pair->finish('many tables');

# --- workers killed in the middle
my $killed = $pair->database('killed');
create_tables($killed);
$killed->start(table_jobs => 2, index_jobs => 2, pause_after => ['indexes']);
for my $kind (qw(copy index copy index)) {
    $killed->poll(
        sub {
            $killed->target_sql("SELECT pg_terminate_backend(pid) FROM livemigrate.workers
                WHERE kind = '$kind' LIMIT 1") eq 't' ||
                $killed->target_sql("SELECT stage IN ('indexes', 'catchup')
                    FROM livemigrate.migration_status()") eq 't';
        }, 20);
}
$killed->wait_stage('indexes');
$killed->wait_state('paused');
figures_are_true($killed, 'the figures after workers were killed');
$killed->resume([]);
$killed->wait_stage('streaming');
$killed->finish('many tables, workers killed');
done_testing();
