# Hypertables with several apply workers, each hypertable whole one worker's; and what compare_schema
# makes of chunks, triggers and indexes that are TimescaleDB's own.
use strict;
use warnings;

use LiveMigrate::Hypertables;
use Test::More;

my $db = LiveMigrate::Hypertables->new_or_skip;

# Transactions that go through all tables, the same rows again and again.
$db->source_sql(<<'SQL');
CREATE TABLE device (id int PRIMARY KEY, name text, seen int DEFAULT 0);
CREATE TABLE metric (device int NOT NULL REFERENCES device, at timestamptz NOT NULL, v float8,
    PRIMARY KEY (device, at));
CREATE INDEX metric_v ON metric (v) WHERE v > 10;
CREATE TABLE reading (at timestamp NOT NULL, v int); ALTER TABLE reading REPLICA IDENTITY FULL;
CREATE TABLE tick (n bigint PRIMARY KEY CHECK (n >= 0), s text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
CREATE TRIGGER note BEFORE UPDATE ON metric FOR EACH ROW EXECUTE FUNCTION note();
COMMENT ON TABLE metric IS 'measured';
CREATE TABLE audit (tx bigint, seq int, of_rows int, PRIMARY KEY (tx, seq));
CREATE SEQUENCE tx;
INSERT INTO device SELECT g, 'd' FROM generate_series(1, 30) g;
CREATE FUNCTION churn(size int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE k int; t timestamptz; rows int := 1 + floor(random() * 4); x bigint := nextval('tx');
BEGIN
    INSERT INTO audit SELECT x, g, rows FROM generate_series(1, rows) g;
    FOR i IN 1..size LOOP
        k := 1 + floor(random() * 30); t := timestamptz '2026-01-01 00:00+00' + (k % 7) * interval '1 day';
        INSERT INTO metric VALUES (k, t, i) ON CONFLICT (device, at) DO UPDATE SET v = metric.v + 1;
        UPDATE metric SET at = at + interval '10 days' WHERE device = 1 + k % 30 AND NOT EXISTS
            (SELECT FROM metric o WHERE o.device = metric.device AND o.at = metric.at + interval '10 days');
        DELETE FROM metric WHERE device = 1 + (k + 1) % 30 AND at > '2026-02-01 00:00+00';
        INSERT INTO reading SELECT timestamp '2026-01-01' + (k % 9) * interval '1 day', k % 3
            FROM generate_series(1, 2);
        DELETE FROM reading WHERE ctid = (SELECT min(ctid) FROM reading WHERE v = k % 3);
        UPDATE reading SET v = 9 WHERE ctid = (SELECT max(ctid) FROM reading WHERE v = (k + 1) % 3);
        INSERT INTO tick VALUES (k * 100, 'x') ON CONFLICT (n) DO UPDATE SET s = left(tick.s || i, 9);
        UPDATE tick SET n = n + 1 WHERE n = k * 100 AND NOT EXISTS
            (SELECT FROM tick o WHERE o.n = k * 100 + 1);
        UPDATE device SET seen = seen + 1 WHERE id = k;
    END LOOP;
    IF random() < 0.1 THEN TRUNCATE reading; END IF;
    IF random() < 0.1 THEN TRUNCATE tick, metric; END IF;
END $$;
SQL

sub churn {
    my ($transactions) = @_;
    $db->source_sql(join '', map { 'SELECT churn(' . (1 + $_ % 8) . ');' } 1 .. $transactions);
}

churn(25);
$db->start(options => { apply_jobs => 3 }, pause_after => [ 'schema', 'indexes' ]);
$db->wait_stage('schema');
$db->wait_state('paused');
# With TimescaleDB's own indexes on the time.
$db->target_sql(<<'SQL');
SELECT create_hypertable('metric', 'at', chunk_time_interval => interval '1 day');
SELECT create_hypertable('reading', 'at', 'v', 2, chunk_time_interval => interval '2 days');
SELECT create_hypertable('tick', 'n', chunk_time_interval => 500);
SQL
$db->resume;
$db->wait_stage('indexes');
$db->wait_state('paused');
churn(40);
$db->resume;
$db->wait_stage('streaming');
is( $db->target_sql("SELECT string_agg(concat_ws(' ', table_name, dealing, dealing_key), ', '
            ORDER BY table_name) FROM livemigrate.table_copy"),
    'audit key {tx,seq}, device key {id}, metric table, reading table, tick table',
    'each hypertable is one worker\'s');
is($db->target_sql("SELECT count(*) FROM livemigrate.workers WHERE kind = 'apply'"),
    '3', 'three workers');
churn(30);
$db->kill_worker('apply');
$db->wait_for_connections($db->target);
churn(30);
$db->set_endpos;
$db->wait_stage('done');
$db->assert_in_chunks('three workers', qw(metric reading tick));
$db->assert_equal_tables('three workers: equal tables', relations => 0);
is($db->target_sql('SELECT relation, source_rows, target_rows FROM livemigrate.compare_data()
        WHERE NOT equal'), '', 'three workers: compare_data finds no difference');

is( $db->target_sql("SELECT object, source, target FROM livemigrate.compare_schema()
        WHERE object !~ '^extension '"),
    '', 'compare_schema: chunks and what TimescaleDB adds are no differences');
$db->target_sql('CREATE INDEX own ON metric (at, v); ALTER TABLE reading ADD COLUMN extra int;
    DROP INDEX metric_v; CREATE TRIGGER also BEFORE INSERT ON tick FOR EACH ROW EXECUTE FUNCTION note()');
is( $db->target_sql("SELECT string_agg(object, ', ' ORDER BY object COLLATE \"C\")
        FROM livemigrate.compare_schema() WHERE object !~ '^extension '"),
    'column public.reading.extra, index public.metric_v, index public.own, '
        . 'trigger also on public.tick',
    'compare_schema: what a user adds or drops is found');
$db->cleanup;
$db->assert_nothing_left('nothing left');

done_testing();
