# The stages data and indexes side by side: indexes of complete tables while others are copied, in
# which order and with which memory they are built, one table that cannot be copied (C14) and one
# index that cannot be built (C23) among others, and the loss of every connection and server while
# tables are copied (C04, R06, R16, R21).
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use PostgreSQL::Test::Utils;
use Test::More;

my $pair = LiveMigrate::Test->new(target_conf => "max_prepared_transactions = 5\nlivemigrate.index_memory = 200MB\n");
my ($source, $target) = ($pair->source, $pair->target);

# A lock that outlives its session and the server, so that one table stays uncopied.
sub hold_table {
    my ($one, $table) = @_;
    $one->target_sql("BEGIN; LOCK TABLE $table; PREPARE TRANSACTION '" . $one->dbname . "'");
}

sub release_table {
    my ($one) = @_;
    $one->target_sql("COMMIT PREPARED '" . $one->dbname . "'");
}

# Tables that are complete, and when they were copied.
sub complete {
    my ($one) = @_;
    return $one->target_sql(
        "SELECT schema_name, table_name, parts, snapshot_lsn, started_at, finished_at, rows_done
            FROM livemigrate.table_progress
            WHERE state = 'done' AND migration = '" . $one->name . "' ORDER BY 1, 2"
    );
}

sub started_with_held_table {
    my ($one, $table, $sql) = @_;
    $one->start(pause_after => ['schema']);
    $one->wait_stage('schema');
    $one->wait_state('paused');
    hold_table($one, $table) if $table;
    $one->target_sql($sql)   if $sql;
    $one->resume([]);
}

my $shapes = <<'SQL';
CREATE TABLE small (id int PRIMARY KEY, a int, b int, CONSTRAINT small_a UNIQUE (a));
CREATE INDEX small_expression ON small ((a % 3));
CREATE STATISTICS small_statistics ON a, b FROM small;
CREATE TABLE big (id int PRIMARY KEY, small int REFERENCES small, filler text);
CREATE TABLE part (k int PRIMARY KEY, v text) PARTITION BY RANGE (k);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (100);
CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (100) TO (200);
CREATE INDEX ON part (v);
INSERT INTO small SELECT g, g, g % 7 FROM generate_series(1, 3000) g;
INSERT INTO big SELECT g, g % 3000 + 1, repeat('x', 200) FROM generate_series(1, 20000) g;
INSERT INTO part SELECT g, md5(g::text) FROM generate_series(0, 199) g;
CREATE MATERIALIZED VIEW totals AS SELECT a % 3 AS third, count(*) FROM small GROUP BY 1;
CREATE UNIQUE INDEX ON totals (third);
SQL

# --- indexes and ANALYZE of complete tables, while another one is being copied; what ANALYZE is told
# by a statement that comes behind the constraints, it waits for
my $one = $pair->database('ahead');
$one->source_sql($shapes . <<'SQL');
CREATE TABLE altered (id int PRIMARY KEY, a int, b int); CREATE INDEX altered_expression ON altered ((a % 3));
CREATE STATISTICS altered_statistics ON a, b FROM altered; ALTER STATISTICS altered_statistics SET STATISTICS 7;
INSERT INTO altered SELECT g, g, g % 7 FROM generate_series(1, 10) g;
CREATE FUNCTION tells(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$BEGIN
    RAISE LOG 'an index is built by % more', pg_catalog.current_setting('max_parallel_maintenance_workers'); RETURN i;
END$$;
CREATE TABLE indexed (id int PRIMARY KEY, a int); CREATE INDEX indexed_expression ON indexed ((tells(a) % 3));
ALTER INDEX indexed_expression ALTER COLUMN 1 SET STATISTICS 7;
INSERT INTO indexed SELECT g, g FROM generate_series(1, 10) g;
SQL
started_with_held_table($one, 'public.big');
ok( $one->poll(
        sub {
            $one->target_sql(
                "SELECT string_agg(kind || ' of ' || table_name || ': ' || n, ', ')
                    FROM (SELECT kind, table_name, count(*) AS n FROM livemigrate.index_progress
                        WHERE state = 'done' GROUP BY 1, 2 ORDER BY 2, 1) t"
            ) eq join ', ',
                'index of altered: 2', 'statistics of altered: 1', 'index of indexed: 2',
                'index of part_1: 2', 'index of part_2: 2', 'analyze of small: 1',
                'index of small: 3',  'statistics of small: 1';
        }),
    'ahead: what complete tables and partitions need is built, and nothing else')
    or diag $one->target_sql('SELECT * FROM livemigrate.index_progress');
is($one->status_row->{stage}, 'data', 'ahead: in stage data');
my $jobs = $one->target_sql('SELECT index_jobs FROM livemigrate.migration');
my $processes = int(`getconf _NPROCESSORS_ONLN` / $jobs);
my ($more) = slurp_file($target->logfile) =~ /an index is built by (\d+) more/;
is($more, $processes > 1 ? $processes - 1 : 0,
    'ahead: parallel workers as the processors are shared out');
is( $one->target_sql(
        "SELECT reltuples FROM pg_class WHERE relname = 'small' AND EXISTS (SELECT FROM pg_stats
            WHERE tablename = 'small_expression') AND EXISTS (SELECT FROM pg_stats_ext
            WHERE statistics_name = 'small_statistics' AND dependencies IS NOT NULL)"
    ),
    '3000',
    'ahead: analyzed, with the statistics of expressions and statistics objects');
is( $one->target_sql(
        "SELECT count(*) FROM livemigrate.index_progress WHERE state <> 'pending'
            AND (table_name IN ('big', 'part') OR kind NOT IN ('index', 'statistics', 'analyze'))"
    ),
    '0',
    'ahead: nothing else has begun');
release_table($one);
$one->wait_stage('streaming');
is($one->status_row->{indexes_done}, $one->status_row->{indexes_total}, 'ahead: all is built');
is($one->target_sql("SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'm')
    AND relnamespace = 'public'::regnamespace AND reltuples < 0 AND relname <> 'totals'"),
    '0', 'ahead: all is analyzed');
$one->finish('ahead');

# --- nothing is built before a pause behind the data; then the indexes of the largest table first, as
# many at a time as there are workers, each with its share of the memory.  These stand still where
# they read the first row.
$one = $pair->database('pausing');
$one->source_sql($shapes . <<'SQL');
CREATE FUNCTION waits(i int, lock int DEFAULT 7) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$BEGIN
    IF i = 1 THEN
        RAISE LOG 'an index is built with % by % more', pg_catalog.current_setting('maintenance_work_mem'),
            pg_catalog.current_setting('max_parallel_maintenance_workers');
        PERFORM pg_catalog.pg_advisory_lock_shared(lock); PERFORM pg_catalog.pg_advisory_unlock_shared(lock);
    END IF;
    RETURN i;
END$$;
CREATE TABLE a_medium (id int PRIMARY KEY, filler text);
INSERT INTO a_medium SELECT g, repeat('x', 200) FROM generate_series(1, 10000) g;
CREATE INDEX ON a_medium (waits(id, 8)); CREATE INDEX ON a_medium (waits(id, 8), filler);
CREATE INDEX waits_first ON big (waits(id)); CREATE INDEX waits_second ON big (waits(id), small);
CREATE INDEX waits_third ON big (id, waits(id));
SQL
$pair->set_and_wait($target, 'livemigrate.index_parallelism', 7);
$one->start(index_jobs => 2, pause_after => ['data']);
$one->wait_stage('data');
$one->wait_state('paused');
is($one->target_sql("SELECT count(*) FROM pg_index WHERE indrelid::regclass::text
    IN ('small', 'big')"), '0', 'pausing: no index yet');
my $held     = $one->session($target, 'SELECT pg_advisory_lock(7)');
my $behind   = $one->session($target, 'SELECT pg_advisory_lock(8)');
my $position = -s $target->logfile;
$one->resume([]);
ok( $one->poll(
        sub {
            $one->target_sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                AND backend_type = 'livemigrate index worker' AND wait_event = 'advisory'") eq '2';
        }),
    'order: two indexes of a table are built at a time');
is( $one->target_sql(
        "SELECT string_agg(object_name || ' ' || state, ', ' ORDER BY object_name)
            FROM livemigrate.index_progress WHERE kind = 'index' AND state <> 'pending'"),
    'big_pkey done, waits_first running, waits_second running',
    'order: those of the largest table come first');
my @shares = slurp_file($target->logfile, $position) =~ /an index is built with (\w+ by \d+) more/g;
is("@shares", '100MB by 3 100MB by 3',
    'order: each worker has its share of livemigrate.index_memory and livemigrate.index_parallelism');
$one->end_session($held);
my $waiting = q{SELECT string_agg(DISTINCT table_name, ', ') FROM livemigrate.index_progress
    WHERE kind = 'index' AND state = 'running' HAVING count(*) = 2};
ok($one->poll(sub { $one->target_sql($waiting) eq 'a_medium' }), 'order: then those of the next largest')
  or $one->diagnose('a_medium');
is( $one->target_sql("SELECT string_agg(DISTINCT table_name, ', ') FROM livemigrate.index_progress
        WHERE kind = 'index' AND state <> 'pending'"),
    'a_medium, big', 'order: before any other');
$one->end_session($behind);
$one->wait_stage('streaming');
$one->finish('pausing');

# --- C14: rows that one table does not take; the others are completed, then it stops, and a resume
# copies that table alone
$one = $pair->database('refused');
$one->source_sql($shapes);
started_with_held_table($one, undef, 'ALTER TABLE big ADD CONSTRAINT few CHECK (id < 15000)');
$one->poll(sub { $one->status_row->{state} eq 'failed' });
my $status = $one->status_row;
is("$status->{stage} $status->{state}", 'data failed', 'refused: failed in stage data');
like($status->{message}, qr/"big" violates check constraint "few"/, 'refused: the message');
like(
    $one->target_sql(
        "SELECT string_agg(detail, ' ') FROM livemigrate.events WHERE severity = 'error'"),
    qr/\(15000, .*COPY big, line 15000/s,
    'refused: row and line are in the events');
is( $one->target_sql(
        "SELECT string_agg(table_name || ' ' || state, ', ')
            FROM (SELECT table_name::text, state FROM livemigrate.table_progress
                WHERE bytes_total > 0 AND error IS NULL ORDER BY 1) t WHERE state <> 'skipped'"
    ),
    'part_1 done, part_2 done, small done',
    'refused: the other tables are complete');
like($one->target_sql("SELECT error FROM livemigrate.table_progress WHERE table_name = 'big'"),
    qr/violates check constraint/, 'refused: table_progress names the table');
my $before = complete($one);
$one->target_sql('ALTER TABLE big DROP CONSTRAINT few');
$one->resume([]);
$one->wait_stage('streaming');
is( join("\n", grep { !/^public\|big\|/ } split /\n/, complete($one)), $before,
    'refused: complete tables were not copied again');
$one->finish('refused');

# --- C23: an index that cannot be built: what it does not concern is done first
$one = $pair->database('index_fails');
$one->source_sql($shapes);
started_with_held_table($one, 'public.big', 'CREATE TABLE small_expression ()');
ok($one->poll(sub { $one->target_sql("SELECT count(*) FROM livemigrate.index_progress
        WHERE object_name = 'small_expression' AND error ~ 'already exists'") eq '1' }),
    'index fails: noticed while tables are copied');
$status = $one->status_row;
is("$status->{stage} $status->{state}", 'data running', 'index fails: the copy goes on');
release_table($one);
$one->poll(sub { $one->status_row->{state} eq 'failed' });
$status = $one->status_row;
is("$status->{stage} $status->{state}", 'indexes failed', 'index fails: failed in stage indexes');
like($status->{message}, qr/"small_expression" already exists/, 'index fails: the message');
$one->target_sql('DROP TABLE small_expression');
$one->resume([]);
$one->wait_stage('streaming');
$one->finish('index fails');

# --- C04, R06, R16, R21: every connection and server is lost while tables are copied, under load
$one = $pair->database('survival');
$one->create_ledger;
$one->start_load(rate => 40);
started_with_held_table($one, 'ledger.bulk');
my $others = "SELECT count(*) FROM livemigrate.table_progress WHERE state <> 'done'";
ok($one->poll(sub { $one->target_sql($others) eq '1' }), 'survival: all tables but one are there');
$before = complete($one);

sub held_again {
    my ($what) = @_;
    my $held = $one->poll(
        sub {
            my ($rc, $out) = $one->target->psql($one->dbname,
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                    AND backend_type = 'livemigrate copy worker'
                    AND cardinality(pg_blocking_pids(pid)) > 0"
            );
            return $rc == 0 && $out eq '1';
        });
    ok($held, "survival, $what: goes on by itself") or $one->diagnose($what);
    is(complete($one), $before, "survival, $what: complete tables stay as they are");
}
held_again('at first');
$one->source_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = 'livemigrate'");
ok($one->poll(sub { $one->target_sql("SELECT count(*) FROM livemigrate.events
        WHERE message ~ 'new snapshot was taken'") > 0 }),
    'survival: a new snapshot was taken');
held_again('source sessions terminated');
$one->stop_background(delete $one->{load});
$source->stop('immediate');
$source->start;
$one->start_load(rate => 40);
held_again('source stopped');
$target->stop('immediate');
$target->start;
held_again('target stopped');
release_table($one);
$one->wait_stage('streaming');
is( join("\n", grep { !/^ledger\|bulk\|/ } split /\n/, complete($one)), $before,
    'survival: complete tables were copied once');
is($one->target_sql("SELECT count(DISTINCT snapshot_lsn) FROM livemigrate.table_progress
    WHERE snapshot_lsn IS NOT NULL"), '2', 'survival: tables of two snapshots');
$one->assert_ledger('target', 'survival: the ledger holds');
$one->stop_load;
$one->finish('survival');

done_testing();
