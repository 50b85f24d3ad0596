# X10: several apply workers, each with its share of every transaction. Random changes, of which some
# concern all workers, with both plugins; any worker may die; the end is equal tables.
# Takes long.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new(target_conf => "log_min_messages = warning\n");
my ($source, $target) = ($pair->source, $pair->target);

# Tables that are dealt by key, whole, and through barriers.  churn() is one transaction of random
# changes; every one of them leaves a row in "audit" that says how many rows it has there.
my $schema = <<'SQL';
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE by_int (id int PRIMARY KEY, v text, filler text);
CREATE TABLE by_two (a uuid, b mood, v int, PRIMARY KEY (a, b));
CREATE TABLE by_text (id text PRIMARY KEY, v int);
CREATE TABLE second_unique (id int PRIMARY KEY, u int UNIQUE, v text);
CREATE TABLE by_char (id char(8) PRIMARY KEY, v int);
CREATE TABLE whole_row (a int, b text);
ALTER TABLE whole_row REPLICA IDENTITY FULL;
CREATE TABLE by_index (a int NOT NULL, b int NOT NULL, v text);
CREATE UNIQUE INDEX by_index_key ON by_index (b, a);
ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_key;
CREATE TABLE part (id int, region int, v text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part_2 PARTITION OF part FOR VALUES IN (2, 3);
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent);
CREATE TABLE audit (tx bigint, seq int, of_rows int, PRIMARY KEY (tx, seq));

CREATE FUNCTION churn(tx bigint, size int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    k int; r float8; n int := 1 + floor(random() * 5);
BEGIN
    INSERT INTO audit SELECT tx, g, n FROM generate_series(1, n) g;
    FOR i IN 1..size LOOP
        k := floor(random() * 200); r := random();
        INSERT INTO by_int VALUES (k, tx::text, repeat(md5(r::text), 100))
            ON CONFLICT (id) DO UPDATE SET v = excluded.v;
        IF r < 0.2 THEN DELETE FROM by_int WHERE id = k + 1; END IF;
        INSERT INTO by_two VALUES (md5((k % 40)::text)::uuid, (enum_range(NULL::mood))[1 + k % 3], i)
            ON CONFLICT (a, b) DO UPDATE SET v = by_two.v + 1;
        IF r > 0.9 THEN DELETE FROM by_two WHERE v % 7 = 1; END IF;
        INSERT INTO by_text VALUES ('key ' || k, i) ON CONFLICT (id) DO UPDATE SET v = i;
        DELETE FROM second_unique WHERE u = k % 50;
        INSERT INTO second_unique VALUES (k, k % 50, 'x')
            ON CONFLICT (id) DO UPDATE SET u = excluded.u, v = second_unique.v || 'y';
        INSERT INTO by_char VALUES (k, i) ON CONFLICT (id) DO UPDATE SET v = by_char.v + 1;
        INSERT INTO whole_row VALUES (k % 20, 'same');
        IF r < 0.3 THEN UPDATE whole_row SET b = 'other' WHERE a = k % 20; END IF;
        IF r > 0.8 THEN DELETE FROM whole_row WHERE a = k % 20 AND b = 'same'; END IF;
        INSERT INTO by_index VALUES (k, k % 3, 'v')
            ON CONFLICT (b, a) DO UPDATE SET v = left(by_index.v || i, 20);
        INSERT INTO part VALUES (k, 1 + k % 3, 'p')
            ON CONFLICT (id, region) DO UPDATE SET v = left(part.v || i, 20);
        INSERT INTO parent VALUES (k) ON CONFLICT DO NOTHING;
        INSERT INTO child VALUES (k, k) ON CONFLICT DO NOTHING;
    END LOOP;
    r := random();
    -- What concerns several workers.
    IF r < 0.15 THEN
        UPDATE by_int SET id = id + 1000 WHERE id BETWEEN 0 AND 100;
        DELETE FROM by_int WHERE id BETWEEN 1100 AND 2000;
        UPDATE by_int SET id = id - 1000 WHERE id BETWEEN 1000 AND 1100 AND
            id - 1000 NOT IN (SELECT id FROM by_int);
    ELSIF r < 0.25 THEN
        UPDATE part SET region = 1 + region % 3 WHERE id % 7 = 1 AND
            NOT EXISTS (SELECT FROM part o WHERE o.id = part.id AND o.region = 1 + part.region % 3);
    ELSIF r < 0.30 THEN
        TRUNCATE parent, child;
    ELSIF r < 0.33 THEN
        TRUNCATE by_text, by_two, part;
    ELSIF r < 0.36 THEN
        TRUNCATE whole_row;
        INSERT INTO whole_row SELECT g, 'again' FROM generate_series(1, 30) g;
    ELSIF r < 0.40 THEN
        UPDATE by_index SET b = b + 10 WHERE a < 50 AND b < 10 AND
            NOT EXISTS (SELECT FROM by_index o WHERE o.a = by_index.a AND o.b = by_index.b + 10);
    END IF;
END $$;
SQL

# Many transactions of many sizes in a row, one of them larger than a batch.
my $number = 0;

sub churn {
    my ($one, $transactions) = @_;
    my $sql = '';
    for (1 .. $transactions) {
        $number++;
        $sql .= "SELECT churn($number, " . int(1 + rand 12) . ");\n";
    }
    $one->source_sql($sql);
}

sub large {
    my ($one, $also) = @_;
    $number++;
    $one->source_sql("BEGIN; DELETE FROM by_int WHERE id >= 100000; INSERT INTO audit SELECT $number, g, 1000"
            . ' FROM generate_series(1, 1000) g; '
            . "INSERT INTO by_int SELECT g, 'large', repeat('l', 50)"
            . " FROM generate_series(100000, 130000) g;"
            . " UPDATE by_int SET v = 'changed' WHERE id >= 120000; "
            . "$also; DELETE FROM by_int WHERE id >= 100000 AND id % 10 <> 0; COMMIT");
}

# Every transaction is there once, whole.
my $torn = 'SELECT count(*) FROM (SELECT FROM audit GROUP BY tx HAVING count(*) <> min(of_rows)) t';

for my $plugin (qw(pgoutput wal2json)) {
    my $one = $pair->database("parallel_$plugin");
    $one->source_sql($schema);
    churn($one, 20);
    $one->start(
        plugin      => $plugin,
        options     => { apply_jobs => 3 },
        pause_after => ['indexes']);
    $one->wait_stage('indexes');
    $one->wait_state('paused');
    churn($one, 150);
    large($one, 'SELECT 1');
    large($one, 'UPDATE by_int SET id = id + 500000 WHERE id BETWEEN 100000 AND 100050');
    large($one, 'TRUNCATE by_text');
    churn($one, 50);
    $one->resume;
    $one->wait_stage('streaming');

    is( $one->target_sql(
            "SELECT string_agg(concat_ws(' ', table_name, dealing, dealing_key), ', ' ORDER BY"
                . " table_name) FROM livemigrate.table_copy WHERE table_name !~ '^part'"),
        'audit key {tx,seq}, by_char table, by_index key {a,b}, by_int key {id}, '
            . 'by_text key {id}, by_two key {a,b}, child key {id}, parent key {id}, '
            . 'second_unique table, whole_row table',
        "$plugin: each table is dealt as it can be");
    is($one->target_sql("SELECT count(*) FROM livemigrate.workers WHERE kind = 'apply'"),
        '3', "$plugin: three workers");
    is($one->target_sql("SELECT count(*) FROM pg_replication_origin WHERE roname ~ '$plugin'"),
        '3', "$plugin: three origins");

    # Under changes, any of them may die, with all others or alone.
    my $load = $one->start_background(
        'pgbench', '--no-vacuum', '--client', 1, '--time', 600, '--rate', 60,
        '--file', do {
            my $script = PostgreSQL::Test::Utils::tempdir() . '/churn.sql';
            PostgreSQL::Test::Utils::append_to_file($script,
                "\\set tx random(1000000, 2000000000)\nSELECT churn(:tx, 3);\n");
            $script;
        },
        $source->connstr($one->dbname));
    for my $signal (qw(KILL TERM KILL TERM)) {
        my @pids = split /\n/, $one->target_sql(
            "SELECT pid FROM livemigrate.workers WHERE kind = 'apply'");
        kill $signal, $pids[ rand @pids ] if @pids;
        $one->wait_for_connections($target);
        my $before = $one->source_sql('SELECT count(*) FROM audit');
        $one->poll(sub { $one->source_sql('SELECT count(*) FROM audit') > $before + 30 });
        my $written = $one->source_sql('SELECT pg_current_wal_lsn()');
        ok( $one->poll(sub {
                my ($rc, $out) = $target->psql($one->dbname,
                    "SELECT applied_lsn >= '$written' FROM livemigrate.migration_status('"
                        . $one->name . "')");
                return $rc == 0 && $out eq 't';
            }),
            "$plugin: after a worker's SIG$signal changes arrive") or $one->diagnose('stuck');
    }
    $one->stop_background($load);
    $source->poll_query_until($one->dbname,
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name ~ 'pgbench'");
    $one->finish("$plugin: after all of this");
    is($one->target_sql($torn), '0', "$plugin: every transaction is there once");
    is($one->target_sql("SELECT count(*) FROM pg_replication_origin WHERE roname ~ '$plugin'"),
        '0', "$plugin: no origin is left");
}

done_testing();
