# Partitions that differ between the two sides, with several apply workers: tables whose rows lie in
# other partitions on the target, and plain tables that are partitioned there.  The end is equal rows.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new(dbname => 'unused');

# Random changes, many rows twice; one transaction each.
my $churn = <<'SQL';
CREATE FUNCTION churn(size int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE k int; r float8;
BEGIN
    FOR i IN 1..size LOOP
        k := floor(random() * 100); r := random();
        INSERT INTO keyed VALUES (k, mood_of(k), i) ON CONFLICT DO NOTHING;
        UPDATE keyed SET v = v + 1 WHERE id = k + 1;
        UPDATE keyed SET m = mood_of(i) WHERE id = k + 2 AND m = mood_of(i + 1) AND NOT EXISTS
            (SELECT FROM keyed o WHERE o.id = k + 2 AND o.m = mood_of(i));
        IF r < 0.2 THEN DELETE FROM keyed WHERE id = k + 3; END IF;
        INSERT INTO twins VALUES (k % 10, mood_of(i)), (k % 10, mood_of(i));
        IF r < 0.5 THEN UPDATE twins SET id = 10 + id
            WHERE (tableoid, ctid) = (SELECT tableoid, min(ctid) FROM twins WHERE id = k % 10
                                      GROUP BY 1 LIMIT 1); END IF;
        IF r > 0.7 THEN DELETE FROM twins
            WHERE (tableoid, ctid) = (SELECT tableoid, max(ctid) FROM twins WHERE id < 12
                                      GROUP BY 1 LIMIT 1); END IF;
        INSERT INTO plain VALUES (k, i) ON CONFLICT (id) DO UPDATE SET v = i;
    END LOOP;
    IF r > 0.9 THEN TRUNCATE twins; END IF;
    IF r < 0.1 THEN TRUNCATE keyed, plain; END IF;
END $$;
SQL
my $moods = <<'SQL';
CREATE TYPE mood AS ENUM ('low', 'mid', 'high');
CREATE FUNCTION mood_of(i int) RETURNS mood LANGUAGE sql AS
    $$SELECT (enum_range(NULL::public.mood))[1 + i % 3]$$;
CREATE TABLE plain (id int PRIMARY KEY, v int);
SQL

sub churn {
    my ($one, $transactions) = @_;
    $one->source_sql(join '', map { 'SELECT churn(' . (1 + $_ % 9) . ');' } 1 .. $transactions);
}

sub assert_equal_rows {
    my ($one, $label) = @_;
    for my $table (qw(keyed twins plain)) {
        my $rows = "SELECT count(*), md5(string_agg(t::text, ',' ORDER BY t)) FROM $table t";
        is($one->target_sql($rows), $one->source_sql($rows), "$label: equal rows of $table");
    }
    is($one->target_sql('SELECT relation, source_rows, target_rows FROM livemigrate.compare_data()
            WHERE NOT equal'), '', "$label: compare_data finds no difference");
}

sub follow {
    my ($one, $label, %dealing) = @_;
    churn($one, 60);
    $one->resume;
    $one->wait_stage('streaming');
    my $dealt = "SELECT string_agg(DISTINCT table_name || ' ' || dealing, ', ')
        FROM livemigrate.table_copy WHERE table_name !~ '_1\$'";
    $one->poll(sub { $one->target_sql($dealt) eq $dealing{dealing} });
    is($one->target_sql($dealt), $dealing{dealing}, "$label: how changes are dealt");
    churn($one, 60);
    $one->set_endpos;
    $one->wait_stage('done');
    assert_equal_rows($one, $label);
    $one->cleanup;
}

for my $plugin (qw(pgoutput wal2json)) {

    # By the hash of an enum: a row's partition is another one on the target.
    my $one    = $pair->database("hashed_$plugin");
    my $halves = join '', map {
        my $table = $_;
        map {"CREATE TABLE ${table}_$_ PARTITION OF $table
            FOR VALUES WITH (MODULUS 2, REMAINDER $_);"} 0, 1
    } qw(keyed twins);
    $one->source_sql("$moods CREATE TABLE keyed (id int, m mood, v int, PRIMARY KEY (id, m))
        PARTITION BY HASH (m); CREATE TABLE twins (id int, m mood) PARTITION BY HASH (m);
        $halves ALTER TABLE twins_0 REPLICA IDENTITY FULL; ALTER TABLE twins_1 REPLICA IDENTITY FULL;
        $churn");
    churn($one, 20);
    $one->start(plugin => $plugin, options => { apply_jobs => 3 }, pause_after => ['indexes']);
    $one->wait_state('paused');
    follow($one, "$plugin, hash of an enum", dealing => 'keyed table, keyed_0 first, plain key, twins table, twins_0 first');
}

# Plain tables of the source that are partitioned on the target.
my $one = $pair->database('repartitioned');
my $tables = "CREATE TABLE keyed (id int, m mood, v int, PRIMARY KEY (id, m))%s;
    CREATE TABLE twins (id int, m mood)%s; ALTER TABLE twins REPLICA IDENTITY FULL;";
$one->source_sql($moods . sprintf($tables, '', '') . $churn);
$one->target_sql($moods . sprintf($tables, ' PARTITION BY LIST (m)', ' PARTITION BY RANGE (id)') . <<'SQL');
CREATE TABLE keyed_low PARTITION OF keyed FOR VALUES IN ('low');
CREATE TABLE keyed_rest PARTITION OF keyed DEFAULT;
CREATE TABLE twins_a PARTITION OF twins FOR VALUES FROM (0) TO (5);
CREATE TABLE twins_b PARTITION OF twins DEFAULT;
SQL
churn($one, 20);
$one->start(on_existing => 'truncate', options => { apply_jobs => 3 }, pause_after => ['indexes']);
$one->wait_state('paused');
follow($one, 'partitioned on the target only', dealing => 'keyed table, plain key, twins table');

# The same made between schema and data: keys and indexes of the source come to every partition.
$one = $pair->database('at_the_pause');
$one->source_sql(<<'SQL');
CREATE TABLE sensor (id int PRIMARY KEY);
CREATE TABLE metric (sensor int NOT NULL REFERENCES sensor, at date NOT NULL, v text,
    PRIMARY KEY (sensor, at), UNIQUE (at, sensor));
CREATE INDEX metric_v ON metric (v);
CREATE TABLE event (id int PRIMARY KEY, at date NOT NULL, v text);
INSERT INTO sensor SELECT generate_series(1, 50);
INSERT INTO metric SELECT s, date '2025-01-01' + d, repeat('v', 50)
    FROM generate_series(1, 50) s, generate_series(0, 399) d;
INSERT INTO event SELECT g, date '2025-01-01' + g % 400, 'e' FROM generate_series(1, 1000) g;
SQL
$one->start(
    options                  => { apply_jobs => 3 },
    split_tables_larger_than => '500 kB',
    pause_after              => ['schema']);
$one->wait_state('paused');
for my $table (qw(metric event)) {
    $one->target_sql("ALTER TABLE $table RENAME TO was; CREATE TABLE $table (LIKE was INCLUDING ALL)
        PARTITION BY RANGE (at); DROP TABLE was;
        CREATE TABLE ${table}_2025 PARTITION OF $table FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
        CREATE TABLE ${table}_later PARTITION OF $table DEFAULT");
}
$one->target_sql('ALTER TABLE event ADD CONSTRAINT event_pkey PRIMARY KEY (id, at)');
$one->resume([]);
$one->wait_stage('streaming');
is( $one->target_sql("SELECT string_agg(concat_ws(' ', conrelid::regclass, contype), ', '
            ORDER BY conrelid::regclass::text, contype) FROM pg_constraint
        WHERE conrelid IN (SELECT oid FROM pg_class WHERE relname ~ '^(metric|event)'
            AND relnamespace = 'public'::regnamespace)
            AND contype <> 'n'"),
    'event p, event_2025 p, event_later p, metric f, metric p, metric u, metric_2025 f, metric_2025 p, '
        . 'metric_2025 u, metric_later f, metric_later p, metric_later u',
    'partitioned at the pause: keys of every partition');
is($one->target_sql('SELECT count(*) FROM pg_index WHERE NOT indisvalid'),
    '0', 'partitioned at the pause: every index is valid');
$one->source_sql(<<'SQL');
UPDATE metric SET v = 'changed' WHERE sensor = 3; DELETE FROM metric WHERE at = '2025-03-03';
UPDATE metric SET at = at + 400 WHERE sensor = 4; INSERT INTO metric VALUES (5, '2030-01-01', 'new');
UPDATE event SET at = at + 365 WHERE id % 10 = 1; DELETE FROM event WHERE id % 10 = 2;
UPDATE event SET id = -id WHERE id % 10 = 3; UPDATE event SET v = 'changed' WHERE id % 10 = 4;
SQL
$one->set_endpos;
$one->wait_stage('done');
for my $table (qw(metric event)) {
    my $rows = "SELECT count(*), md5(string_agg(t::text, ',' ORDER BY t)) FROM $table t";
    is($one->target_sql($rows), $one->source_sql($rows), "partitioned at the pause: $table");
}
is($one->target_sql('SELECT relation, source_rows, target_rows FROM livemigrate.compare_data()
        WHERE NOT equal'), '', 'partitioned at the pause: compare_data finds no difference');
$one->cleanup;

done_testing();
